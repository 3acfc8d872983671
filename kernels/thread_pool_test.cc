#include "kernels/thread_pool.h"

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace linnet::kernels {
namespace {

TEST(ThreadPool, RunCallsEachThreadOnce) {
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (int round = 0; round < 200; ++round) {
      std::vector<int> calls(static_cast<size_t>(threads));  // each thread its own element: no lock needed
      pool.Run([&](int thread) { ++calls[static_cast<size_t>(thread)]; });
      EXPECT_EQ(calls, std::vector<int>(static_cast<size_t>(threads), 1));
    }
  }
}

TEST(ThreadPool, ParallelForCoversTheRangeInFixedChunks) {
  ThreadPool pool(3);
  for (const int64_t n : {0, 1, 7, 8, 100}) {
    for (const int64_t grain : {1, 3, 8, 1000}) {
      std::vector<int> seen(static_cast<size_t>(n));
      pool.ParallelFor(n, grain, [&](int64_t begin, int64_t end, int thread) {
        EXPECT_EQ(begin % grain, 0);
        EXPECT_EQ(end, std::min(n, begin + grain));
        EXPECT_LT(thread, 3);
        for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
      });
      EXPECT_EQ(seen, std::vector<int>(static_cast<size_t>(n), 1));
    }
  }
}

TEST(ThreadPool, CallersTakeTurns) {
  ThreadPool pool(2);
  std::atomic<int> inside{0};
  int64_t sum = 0;  // guarded by the turn
  std::vector<std::thread> callers;
  for (int c = 0; c < 3; ++c) {
    callers.emplace_back([&] {
      for (int i = 0; i < 300; ++i) {
        pool.ParallelFor(4, 1, [&](int64_t, int64_t, int) {
          EXPECT_LE(inside.fetch_add(1) + 1, 2);
          inside.fetch_sub(1);
        });
        pool.Run([&](int thread) {
          if (thread == 0) ++sum;
        });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum, 900);
}

TEST(ThreadPool, WorksAfterItsThreadsHaveParked) {
  ThreadPool pool(2);
  for (int round = 0; round < 20; ++round) {
    // Longer than the threads spin, on this thread alone.
    const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(300);
    while (std::chrono::steady_clock::now() < until) {
    }
    std::atomic<int> calls{0};
    pool.Run([&](int) { ++calls; });
    EXPECT_EQ(calls, 2);
  }
}

TEST(ThreadPool, ItsThreadsHaveNames) {
  ThreadPool pool(3);
  std::vector<std::string> names(3);
  pool.Run([&](int thread) {
    char name[16] = {};
    pthread_getname_np(pthread_self(), name, sizeof(name));
    names[static_cast<size_t>(thread)] = name;
  });
  EXPECT_EQ(names[1], "compute/1");
  EXPECT_EQ(names[2], "compute/2");
}

}  // namespace
}  // namespace linnet::kernels
