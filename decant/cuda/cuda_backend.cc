#include "decant/cuda/cuda_backend.h"

#include <algorithm>
#include <array>
#include <utility>

#include "decant/core/cache_dir.h"
#include "decant/core/error.h"
#include "decant/cuda/devices.h"

namespace decant::cuda {
namespace {

// What a kernel may take as parameters; also what slot 0 reads by value when it is a Buffer.
constexpr size_t kMaxParameterBytes = 4096;
constexpr size_t kMaxArguments = 64;
alignas(16) constexpr std::array<std::byte, kMaxParameterBytes> kZeros{};

// Whether argument i is two parameters: a value, and a pointer that wins unless it is null.
bool in_two_forms(const RecordedArg& arg, size_t i) { return i == 0 || arg.either; }

// The parameters of one launch. The driver copies them while it launches, or captures, the kernel.
struct Parameters {
  std::array<void*, 2 * kMaxArguments> pointers;
  std::array<DevicePtr, kMaxArguments> addresses;

  void fill(const CommandList& list, const Dispatch& dispatch) {
    const std::span<const RecordedArg> args = list.args_of(dispatch);
    require(args.size() <= kMaxArguments, "{}: at most {} arguments, got {}", dispatch.kernel->name,
            kMaxArguments, args.size());
    size_t count = 0;
    const auto add = [&](const void* value) { pointers[count++] = const_cast<void*>(value); };
    for (size_t i = 0; i < args.size(); ++i) {
      const bool two = in_two_forms(args[i], i);
      addresses[i] = args[i].is_bytes() ? 0 : address_of(args[i].buffer);
      if (args[i].is_bytes())
        add(list.bytes.data() + args[i].bytes_offset);
      else if (two)
        add(kZeros.data());
      if (two || !args[i].is_bytes()) add(&addresses[i]);
    }
  }
};

// The driver reads as many bytes as the kernel's parameters have, whatever was given.
void check_sizes(const Function& function, const CommandList& list, const Dispatch& dispatch) {
  const std::vector<size_t>& sizes = function.parameter_bytes;
  if (sizes.empty()) return;
  const std::span<const RecordedArg> args = list.args_of(dispatch);
  const std::string& name = dispatch.kernel->name;
  size_t needed = args.size();
  for (size_t i = 0; i < args.size(); ++i) needed += in_two_forms(args[i], i);
  require(needed == sizes.size(), "{}: the kernel has {} parameters, {} arguments make {}", name,
          sizes.size(), args.size(), needed);
  size_t parameter = 0;
  for (size_t i = 0; i < args.size(); ++i) {
    const bool two = in_two_forms(args[i], i);
    if (two || args[i].is_bytes()) {
      const size_t bytes = sizes[parameter++];
      require(args[i].is_bytes() ? bytes == args[i].bytes_len : bytes <= kMaxParameterBytes,
              "{}: argument {}: the kernel takes {} bytes, got {}", name, i, bytes,
              args[i].bytes_len);
    }
    if (two || !args[i].is_bytes()) {
      const size_t bytes = sizes[parameter++];
      require(bytes == sizeof(DevicePtr),
              "{}: argument {}: the kernel takes {} bytes, got a buffer", name, i, bytes);
    }
  }
}

// "kernel 'a'", or "one of the kernels 'a', 'b' and 4 more": a late failure names no launch.
std::string kernels_of(const CommandList& list) {
  constexpr size_t kShown = 8;
  std::vector<std::string_view> names;
  for (const Dispatch& dispatch : list.dispatches)
    if (std::find(names.begin(), names.end(), dispatch.kernel->name) == names.end())
      names.push_back(dispatch.kernel->name);
  std::string text = names.size() == 1 ? "kernel " : "one of the kernels ";
  for (size_t i = 0; i < std::min(names.size(), kShown); ++i)
    text += fmt::format("{}'{}'", i ? ", " : "", names[i]);
  if (names.size() > kShown) text += fmt::format(" and {} more", names.size() - kShown);
  return text;
}

}  // namespace

CudaBackend::CudaBackend(const CudaOptions& options) : host_visible_(options.host_visible) {
  const std::shared_ptr<const Driver> driver = Driver::load(options.driver);
  info_ = device_info(*driver, options.ordinal);
  DeviceNumber number = 0;
  driver->check(driver->device_get(&number, static_cast<int>(options.ordinal)),
                ErrorKind::kDeviceNotFound, "cuDeviceGet");
  const std::string cache = cache_dir();
  Compiler compiler(Nvrtc::load(options.nvrtc), compute_capability(*driver, number),
                    !options.cache_dir.empty() ? options.cache_dir
                    : cache.empty()            ? std::string()
                                               : cache + "/cuda");
  context_ = std::make_shared<Context>(driver, number);
  modules_ = std::make_unique<Modules>(context_, std::move(compiler));
}

std::shared_ptr<Storage> CudaBackend::allocate(size_t bytes) {
  return CudaStorage::make(context_, bytes, host_visible_, this);
}

std::shared_ptr<Storage> CudaBackend::allocate_host_visible(size_t bytes) {
  return CudaStorage::make(context_, bytes, true, this);
}

std::shared_ptr<Storage> CudaBackend::wrap(std::span<const std::byte> memory,
                                           std::shared_ptr<const void>) {
  std::shared_ptr<CudaStorage> copy =
      CudaStorage::make(context_, memory.size(), host_visible_, this);
  context_->write(copy->address(), memory);
  return copy;
}

void CudaBackend::write(const Buffer& to, std::span<const std::byte> from) {
  context_->write(address_of(to), from);
}

void CudaBackend::read(const Buffer& from, std::span<std::byte> to) {
  context_->read(address_of(from), to);
}

void CudaBackend::zero(const Buffer& to) { context_->zero(address_of(to), to.byte_len()); }

void CudaBackend::launch_all(const CommandList& list, StreamHandle stream) {
  Parameters parameters;
  for (const Dispatch& dispatch : list.dispatches) {
    const Launch& launch = dispatch.launch;
    const Function& function = modules_->resolve(dispatch.kernel, launch);
    parameters.fill(list, dispatch);
    check_sizes(function, list, dispatch);

    std::array<LaunchAttribute, 3> attributes{};
    unsigned count = 0;
    if (launch.cooperative) {
      attributes[count].id = LaunchAttributeId::kCooperative;
      attributes[count++].value.flag = 1;
    }
    if (launch.cluster.count() > 1) {
      attributes[count].id = LaunchAttributeId::kClusterDimension;
      unsigned* cluster = attributes[count++].value.cluster;
      cluster[0] = launch.cluster.x, cluster[1] = launch.cluster.y, cluster[2] = launch.cluster.z;
    }
    if (launch.programmatic) {
      attributes[count].id = LaunchAttributeId::kProgrammaticStreamSerialization;
      attributes[count++].value.flag = 1;
    }
    const LaunchConfig config{.grid = {launch.grid.x, launch.grid.y, launch.grid.z},
                              .block = {launch.group.x, launch.group.y, launch.group.z},
                              .shared_bytes = launch.shared_bytes,
                              .stream = stream,
                              .attributes = attributes.data(),
                              .num_attributes = count};
    const Driver& driver = context_->driver();
    const Result result =
        driver.launch(&config, function.handle, parameters.pointers.data(), nullptr);
    if (result != kSuccess)
      fail(ErrorKind::kCommandFailed,
           "kernel '{}' failed: cuda: cannot launch {}x{}x{} blocks of {}x{}x{} threads with {} "
           "bytes of shared memory: {}",
           dispatch.kernel->name, launch.grid.x, launch.grid.y, launch.grid.z, launch.group.x,
           launch.group.y, launch.group.z, launch.shared_bytes, driver.describe(result));
  }
}

void CudaBackend::lost(const CommandList& list, Result result) const {
  fail(ErrorKind::kCommandFailed,
       "{} failed: cuda: {}; after this the process cannot use {} any more", kernels_of(list),
       context_->driver().describe(result), info_.name);
}

void CudaBackend::record(Completion& completion, const CommandList& list) {
  const Result result =
      context_->driver().event_record(context_->event(completion.ticket), context_->stream());
  if (result != kSuccess) lost(list, result);
}

void CudaBackend::submit(const CommandList& list, Completion& completion) {
  try {
    const Context::Current current(*context_);
    completion.commands = &list;
    completion.ticket = context_->acquire_event();
    try {
      launch_all(list, context_->stream());
    } catch (...) {
      completion.error = std::current_exception();
    }
    // Also after a failure: what was launched before it still runs.
    record(completion, list);
  } catch (...) {
    if (!completion.error) completion.error = std::current_exception();
  }
}

void CudaBackend::wait(Completion& completion) {
  Result result = kSuccess;
  if (const uint64_t event = std::exchange(completion.ticket, 0)) {
    const Context::Current current(*context_);
    result = context_->driver().event_synchronize(context_->event(event));
    context_->release_event(event);
  }
  if (completion.error) std::rethrow_exception(std::exchange(completion.error, nullptr));
  if (result != kSuccess) lost(*completion.commands, result);
}

bool CudaBackend::done(const Completion& completion) {
  if (!completion.ticket) return true;
  const Context::Current current(*context_);
  return context_->driver().event_query(context_->event(completion.ticket)) != kNotReady;
}

// --- Graphs

class CudaBackend::CudaExecutable final : public Executable {
 public:
  CudaExecutable(CudaBackend& backend, CommandList list)
      : backend_(backend), context_(backend.context_), list_(std::move(list)) {
    if (list_.dispatches.empty()) return;
    const Context::Current current(*context_);
    const Driver& driver = context_->driver();
    // Compile and load before capturing, which allows neither.
    for (const Dispatch& dispatch : list_.dispatches)
      backend.modules_->resolve(dispatch.kernel, dispatch.launch);

    // Captured on a stream of its own: other threads may submit to the device's meanwhile.
    struct Stream {
      const Driver& driver;
      StreamHandle handle = nullptr;
      ~Stream() {
        if (handle) driver.stream_destroy(handle);
      }
    } stream{driver};
    struct CudaGraph {
      const Driver& driver;
      GraphHandle handle = nullptr;
      ~CudaGraph() {
        if (handle) driver.graph_destroy(handle);
      }
    } graph{driver};
    context_->check(driver.stream_create(&stream.handle, kStreamNonBlocking), "cuStreamCreate");
    context_->check(driver.stream_begin_capture(stream.handle, kCaptureModeRelaxed),
                    "cuStreamBeginCapture");
    try {
      backend.launch_all(list_, stream.handle);
    } catch (...) {
      driver.stream_end_capture(stream.handle, &graph.handle);
      throw;
    }
    context_->check(driver.stream_end_capture(stream.handle, &graph.handle), "cuStreamEndCapture");
    context_->check(driver.graph_instantiate(&executable_, graph.handle, 0), "cuGraphInstantiate");
  }

  ~CudaExecutable() override {
    const Context::Current current(*context_);
    if (executable_) context_->driver().graph_exec_destroy(executable_);
  }

  void launch(Completion& completion) override {
    if (completion.error || !executable_) return;
    try {
      const Context::Current current(*context_);
      const Driver& driver = context_->driver();
      if (!completion.ticket) completion.ticket = context_->acquire_event();
      completion.commands = &list_;
      const Result result = driver.graph_launch(executable_, context_->stream());
      if (result != kSuccess) backend_.lost(list_, result);
      backend_.record(completion, list_);
    } catch (...) {
      completion.error = std::current_exception();
    }
  }

 private:
  CudaBackend& backend_;
  std::shared_ptr<Context> context_;
  CommandList list_;
  GraphExecHandle executable_ = nullptr;
};

std::unique_ptr<Executable> CudaBackend::prepare(CommandList list) {
  return std::make_unique<CudaExecutable>(*this, std::move(list));
}

}  // namespace decant::cuda

namespace decant {

Device Device::cuda(const CudaOptions& options) {
  return Device(std::make_unique<cuda::CudaBackend>(options));
}

}  // namespace decant
