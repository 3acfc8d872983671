#include "worker/server/device_profile.h"

#include <sys/statvfs.h>
#include <sys/utsname.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_replace.h"
#include "base/cpu_budget.h"
#include "base/memory.h"
#include "base/strings.h"
#include "base/thread.h"
#include "kernels/isa.h"
#include "registry/client/names.h"

namespace linnet::worker {
namespace {

// Per thread; well beyond the caches of the devices that this is for.
constexpr size_t kBufferBytes = 48 << 20;
constexpr size_t kChunkWords = (1 << 20) / sizeof(uint64_t);

uint64_t SumWords(const uint64_t* words, size_t count) {
  uint64_t a = 0, b = 0, c = 0, d = 0;
  for (size_t i = 0; i + 4 <= count; i += 4) {
    a += words[i];
    b += words[i + 1];
    c += words[i + 2];
    d += words[i + 3];
  }
  return a + b + c + d;
}

}  // namespace

double MeasureReadBandwidth(int threads, absl::Duration duration) {
  threads = std::clamp(threads, 1, 256);
  // Not more than an eighth of what is free, over all threads.
  const uint64_t room = base::DetectMemoryBudget().available_bytes / 8 / threads;
  const size_t words = std::min<uint64_t>(kBufferBytes, std::max<uint64_t>(room, 1 << 20)) / sizeof(uint64_t);
  std::atomic<int> ready{0};
  std::atomic<bool> go{false}, stop{false};
  std::atomic<uint64_t> bytes{0}, sink{0};
  std::vector<std::jthread> readers;
  readers.reserve(static_cast<size_t>(threads));
  for (int t = 0; t < threads; ++t) {
    readers.push_back(base::StartThread("bandwidth", [&] {
      std::vector<uint64_t> buffer(words, 1);  // touched: pages of our own
      ++ready;
      go.wait(false);
      uint64_t read = 0, sum = 0;
      for (size_t at = 0; !stop.load(std::memory_order_relaxed); at += kChunkWords) {
        if (at + kChunkWords > words) at = 0;
        sum += SumWords(buffer.data() + at, std::min(kChunkWords, words));
        read += std::min(kChunkWords, words) * sizeof(uint64_t);
      }
      bytes += read;
      sink += sum;
    }));
  }
  while (ready.load() < threads) std::this_thread::yield();
  const auto start = std::chrono::steady_clock::now();
  go = true;
  go.notify_all();
  std::this_thread::sleep_for(absl::ToChronoNanoseconds(duration));
  stop = true;
  const auto end = std::chrono::steady_clock::now();
  readers.clear();
  const double seconds = std::chrono::duration<double>(end - start).count();
  return seconds > 0 && sink.load() > 0 ? static_cast<double>(bytes.load()) / seconds : 0;
}

std::string SlugOf(const std::string& text) {
  // What vendors put into the name and nobody says.
  const std::string clean = absl::StrReplaceAll(absl::AsciiStrToLower(text),
                                                {{"(r)", " "}, {"(tm)", " "}, {"processor", " "}, {" cpu", " "}});
  std::string slug;
  for (const char c : clean) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c))) {
      slug += c;
    } else if (!slug.empty() && slug.back() != '-') {
      slug += '-';
    }
  }
  slug.resize(std::min(slug.size(), registry::kMaxIdLength));
  while (!slug.empty() && slug.back() == '-') slug.pop_back();
  return slug.empty() ? "device" : slug;
}

registry::v1::DeviceProfile DetectDeviceProfile(const DeviceProfileOptions& options) {
  registry::v1::DeviceProfile profile;
  const std::string cpu = kernels::CpuModelName();
  utsname system{};
  if (uname(&system) == 0) profile.set_cpu_arch(system.machine);
  profile.set_cpu_model(cpu);
  for (const std::string& feature : kernels::DetectCpuFeatures()) profile.add_isa_features(feature);

  const base::CpuBudget budget = base::DetectCpuBudget();
  const int performance =
      budget.performance_cores > 0 ? std::min(budget.performance_cores, budget.affinity_cpus) : budget.affinity_cpus;
  profile.set_performance_cores(std::max(performance, 1));
  profile.set_efficiency_cores(std::max(budget.affinity_cpus - performance, 0));
  profile.set_memory_bytes(base::DetectMemoryBudget().total_bytes);

  struct statvfs disk;
  if (!options.storage.empty() && statvfs(options.storage.c_str(), &disk) == 0) {
    profile.set_storage_bytes(static_cast<uint64_t>(disk.f_blocks) * disk.f_frsize);
  }
  if (options.measure > absl::ZeroDuration()) {
    const int threads = options.threads > 0 ? options.threads : budget.threads;
    profile.set_memory_bandwidth_bytes_per_second(MeasureReadBandwidth(threads, options.measure));
  }
  const std::string slug = SlugOf(cpu.empty() ? base::StrCat(profile.cpu_arch(), "-", budget.affinity_cpus) : cpu);
  profile.set_name(registry::DeviceProfileName(options.name.empty() ? slug : options.name));
  profile.set_display_name(base::StrCat(cpu.empty() ? profile.cpu_arch() : cpu, ", ", budget.affinity_cpus, " CPUs"));
  return profile;
}

}  // namespace linnet::worker
