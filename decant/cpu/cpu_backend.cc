#include "decant/cpu/cpu_backend.h"

#include <hwy/targets.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <mutex>
#include <new>
#include <string>
#include <utility>

#include "decant/core/error.h"

namespace decant::cpu {
namespace {

constexpr size_t kAlignment = 64;

class OwnedMemory final : public Storage {
 public:
  OwnedMemory(void* block, size_t bytes, const void* device)
      : Storage(align(block), bytes, device), block_(block) {}
  ~OwnedMemory() override { std::free(block_); }

 private:
  static std::byte* align(void* block) {
    const auto address = reinterpret_cast<uintptr_t>(block);
    return static_cast<std::byte*>(block) + (kAlignment - address % kAlignment) % kAlignment;
  }
  void* block_;
};

class WrappedMemory final : public Storage {
 public:
  WrappedMemory(std::span<const std::byte> memory, const void* device,
                std::shared_ptr<const void> owner)
      // Device::wrap marks it read-only, and the encoder refuses to write such memory.
      : Storage(const_cast<std::byte*>(memory.data()), memory.size(), device),
        owner_(std::move(owner)) {}

 private:
  std::shared_ptr<const void> owner_;
};

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name") && line.find(": ") != std::string::npos)
      return line.substr(line.find(": ") + 2);
  return "CPU";
}

// Scratch of the calling thread, at least `bytes`, grown when a kernel asks for more.
std::byte* thread_scratch(size_t bytes) {
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  thread_local std::unique_ptr<std::byte, Free> memory;
  thread_local size_t capacity = 0;
  if (bytes > capacity) {
    const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    memory.reset(static_cast<std::byte*>(std::aligned_alloc(kAlignment, rounded)));
    capacity = memory ? rounded : 0;
    if (!memory) throw std::bad_alloc();
  }
  return memory.get();
}

// Whether the calling thread's last group was one of `dispatch` in the run of this number too.
bool same_dispatch_again(uint64_t run, const void* dispatch) {
  struct Last {
    uint64_t run;
    const void* dispatch;
    bool operator==(const Last&) const = default;
  };
  thread_local Last last{};
  return std::exchange(last, {run, dispatch}) == Last{run, dispatch};
}

// One dispatch, ready to run: its pointers, and where its groups start in the parallel region.
struct Prepared {
  Kernel kernel;
  const CpuArg* args;
  Dim3 grid;
  uint32_t shared_bytes;
  size_t first_group;
};

struct Region {
  size_t first, count;  // of Prepared
  size_t groups;
};

// A command list resolved to pointers. Bytes arguments point into the list, which must outlive it.
class Program {
 public:
  void build(const CommandList& list) {
    args_.clear();
    prepared_.clear();
    regions_.clear();
    for (const RecordedArg& arg : list.args) {
      if (arg.is_bytes())
        args_.push_back(
            {const_cast<std::byte*>(list.bytes.data()) + arg.bytes_offset, arg.bytes_len});
      else
        args_.push_back({arg.buffer.host(), arg.buffer.byte_len()});
    }
    for (const Dispatch& d : list.dispatches) {
      if (d.barrier_before || regions_.empty()) regions_.push_back({prepared_.size(), 0, 0});
      Region& region = regions_.back();
      prepared_.push_back({d.kernel, args_.data() + d.first_arg, d.launch.grid,
                           d.launch.shared_bytes, region.groups});
      region.count += 1;
      region.groups += d.launch.grid.count();
    }
  }

  // Keeps the first failure in `completion`; what follows its region is not run.
  void run(ThreadPool& pool, Completion& completion) const {
    static std::atomic<uint64_t> runs{0};
    const uint64_t run = runs.fetch_add(1, std::memory_order_relaxed) + 1;
    for (const Region& region : regions_) {
      RunContext context{this, &region, run, {}, {}};
      pool.run(&Program::run_group, &context, region.groups);
      if (context.failed.load(std::memory_order_acquire)) {
        completion.error = context.error;
        return;
      }
    }
  }

 private:
  struct RunContext {
    const Program* program;
    const Region* region;
    uint64_t run;  // of all programs of the process
    std::atomic<bool> failed;
    std::exception_ptr error;  // written by whoever sets `failed`; read after the region
  };

  static void run_group(void* opaque, size_t index) {
    auto& context = *static_cast<RunContext*>(opaque);
    const Prepared* all = context.program->prepared_.data() + context.region->first;
    size_t which = context.region->count - 1;
    while (all[which].first_group > index) --which;
    const Prepared& p = all[which];
    const size_t i = index - p.first_group;
    // Nothing may leave through the pool's C frames.
    const auto failed = [&](const char* reason) {
      if (!context.failed.exchange(true, std::memory_order_acq_rel))
        context.error = std::make_exception_ptr(
            Error(ErrorKind::kCommandFailed,
                  fmt::format("kernel '{}' failed: {}", p.kernel->name, reason)));
    };
    try {
      const bool again = same_dispatch_again(context.run, &p);
      const CpuGroup group{.args = p.args,
                           .shared = p.shared_bytes ? thread_scratch(p.shared_bytes) : nullptr,
                           .group = {static_cast<uint32_t>(i % p.grid.x),
                                     static_cast<uint32_t>(i / p.grid.x % p.grid.y),
                                     static_cast<uint32_t>(i / p.grid.x / p.grid.y)},
                           .grid = p.grid,
                           .shared_kept = again};
      p.kernel->cpu(group);
    } catch (const std::exception& e) {
      failed(e.what());
    } catch (...) {
      failed("it threw something that is no std::exception");
    }
  }

  std::vector<CpuArg> args_;
  std::vector<Prepared> prepared_;
  std::vector<Region> regions_;
};

class CpuExecutable final : public Executable {
 public:
  CpuExecutable(CommandList list, ThreadPool& pool) : list_(std::move(list)), pool_(pool) {
    program_.build(list_);
  }
  void launch(Completion& completion) override {
    if (!completion.error) program_.run(pool_, completion);
  }

 private:
  CommandList list_;
  Program program_;
  ThreadPool& pool_;
};

}  // namespace

std::string_view simd_target_name() {
  // The highest bit set is the oldest instruction set; Highway numbers the best one lowest.
  static const std::string name = [] {
    const int64_t supported = hwy::SupportedTargets();
    std::string text = hwy::TargetName(supported & -supported);
    std::transform(text.begin(), text.end(), text.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return text;
  }();
  return name;
}

CpuBackend::CpuBackend(const CpuOptions& options)
    : pool_(options.threads ? options.threads : physical_cores()),
      info_{.backend = BackendKind::kCpu,
            .name = cpu_name(),
            .capability = std::string(simd_target_name()),
            .memory_bytes = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                            static_cast<uint64_t>(sysconf(_SC_PAGESIZE)),
            .compute_units = pool_.threads()} {}

std::shared_ptr<Storage> CpuBackend::allocate(size_t bytes) {
  // calloc takes large blocks as fresh pages, already zero, which cost memory only when touched.
  void* block = bytes > info_.memory_bytes ? nullptr : std::calloc(1, bytes + kAlignment);
  if (!block)
    fail(ErrorKind::kAllocationFailed, "cpu: cannot allocate {} bytes (the machine has {})", bytes,
         info_.memory_bytes);
#ifdef MADV_HUGEPAGE
  // A cache of many megabytes is read front to back: with 4 KiB pages the address translation and
  // the prefetchers start anew 512 times as often. Only advice; where it fails, nothing changes.
  constexpr size_t kHugePage = size_t{2} << 20;
  const auto address = reinterpret_cast<uintptr_t>(block);
  const uintptr_t begin = (address + kHugePage - 1) / kHugePage * kHugePage;
  const uintptr_t end = (address + bytes) / kHugePage * kHugePage;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
  return std::make_shared<OwnedMemory>(block, bytes, this);
}

std::shared_ptr<Storage> CpuBackend::wrap(std::span<const std::byte> memory,
                                          std::shared_ptr<const void> owner) {
  return std::make_shared<WrappedMemory>(memory, this, std::move(owner));
}

void CpuBackend::write(const Buffer& to, std::span<const std::byte> from) {
  if (!from.empty()) std::memcpy(to.host(), from.data(), from.size());
}

void CpuBackend::read(const Buffer& from, std::span<std::byte> to) {
  if (!to.empty()) std::memcpy(to.data(), from.host(), to.size());
}

void CpuBackend::submit(const CommandList& list, Completion& completion) {
  thread_local Program program;  // keeps its capacity: the steady state allocates nothing
  program.build(list);
  program.run(pool_, completion);
}

void CpuBackend::wait(Completion& completion) {
  if (completion.error) std::rethrow_exception(std::exchange(completion.error, nullptr));
}

std::unique_ptr<Executable> CpuBackend::prepare(CommandList list) {
  return std::make_unique<CpuExecutable>(std::move(list), pool_);
}

}  // namespace decant::cpu

namespace decant {

Device Device::cpu(const CpuOptions& options) {
  return Device(std::make_unique<cpu::CpuBackend>(options));
}

}  // namespace decant
