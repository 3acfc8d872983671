#include "worker/text/template_sandbox.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <vector>

namespace linnet::worker {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif
#else
constexpr bool kSanitized = false;
#endif

#if defined(__x86_64__)
constexpr unsigned kAuditArch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr unsigned kAuditArch = AUDIT_ARCH_AARCH64;
#else
constexpr unsigned kAuditArch = 0;
#endif

void Limit(int resource, rlim_t value) {
  const rlimit limit{.rlim_cur = value, .rlim_max = value};
  setrlimit(static_cast<decltype(RLIMIT_AS)>(resource), &limit);
}

void RestrictSystemCalls() {
  static constexpr unsigned kAllowed[] = {
      SYS_read,          SYS_write,        SYS_recvfrom,    SYS_sendto,       SYS_brk,
      SYS_mmap,          SYS_munmap,       SYS_mremap,      SYS_mprotect,     SYS_madvise,
      SYS_futex,         SYS_exit,         SYS_exit_group,  SYS_rt_sigreturn, SYS_getrandom,
      SYS_clock_gettime, SYS_gettimeofday, SYS_sched_yield, SYS_getpid,       SYS_rt_sigprocmask,
  };
  std::vector<sock_filter> filter = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kAuditArch, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
  };
  for (unsigned call : kAllowed) {
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1));
    filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  }
  filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
  const sock_fprog program{.len = static_cast<unsigned short>(filter.size()), .filter = filter.data()};
  prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);  // where the kernel has none, the other bounds remain
}

}  // namespace

size_t AddressSpaceBytes() {
  unsigned long pages = 0;
  if (FILE* file = fopen("/proc/self/statm", "re")) {
    if (fscanf(file, "%lu", &pages) != 1) pages = 0;
    fclose(file);
  }
  return pages * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

void EnterTemplateSandbox(int socket, size_t start_bytes, size_t max_memory_bytes) {
  for (int signal_number = 1; signal_number < NSIG; ++signal_number) {
    const bool interrupt = signal_number == SIGINT || signal_number == SIGTERM || signal_number == SIGHUP ||
                           signal_number == SIGPIPE || signal_number == SIGQUIT;
    signal(signal_number, interrupt ? SIG_IGN : SIG_DFL);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (socket > 0) syscall(SYS_close_range, 0u, static_cast<unsigned>(socket) - 1, 0u);
  syscall(SYS_close_range, static_cast<unsigned>(socket) + 1, ~0u, 0u);

  prctl(PR_SET_NAME, "linnet-template");
  prctl(PR_SET_DUMPABLE, 0);
  Limit(RLIMIT_CORE, 0);
  Limit(RLIMIT_FSIZE, 0);
  tzset();
  if (kSanitized) return;
  if (start_bytes != 0) Limit(RLIMIT_AS, start_bytes + max_memory_bytes);
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && kAuditArch != 0) RestrictSystemCalls();
}

}  // namespace linnet::worker
