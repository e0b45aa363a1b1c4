// What compiled kernels and the runtime that executes them agree on. Read by both: by kernels
// without any standard library, so only built-in types appear here.
#ifndef DECANT_TESTING_METAL_HOST_SHIM_ABI_H_
#define DECANT_TESTING_METAL_HOST_SHIM_ABI_H_

namespace metal_host {

constexpr unsigned kLanes = 32;  // threads of a simdgroup, as on every Apple GPU
constexpr unsigned kMaxBuffers = 31;
constexpr unsigned kMaxThreadgroupArgs = 31;
constexpr unsigned kMaxGroupThreads = 1024;
constexpr unsigned kMaxThreadgroupBytes = 32768;

// What a parameter of a kernel stands for; the source step reads it off its attribute.
enum class ParamKind : unsigned {
  kBuffer,
  kThreadgroup,
  kThreadPositionInGrid,
  kThreadsPerGrid,
  kThreadPositionInThreadgroup,
  kThreadsPerThreadgroup,
  kThreadgroupPositionInGrid,
  kThreadgroupsPerGrid,
  kThreadIndexInThreadgroup,
  kThreadIndexInSimdgroup,
  kSimdgroupIndexInThreadgroup,
  kSimdgroupsPerThreadgroup,
  kThreadsPerSimdgroup,
};

// One parameter of one kernel. The types' sizes come from the compiler.
struct Param {
  ParamKind kind;
  unsigned index;        // of buffers and threadgroup memory
  const char* name;      // in the source
  bool used;             // false: its function constant says that this kernel does without
  bool reference;        // T&: the argument must hold a whole T
  bool writable;         // not constant
  unsigned size, align;  // of what it points to or refers to
};

struct Kernel {
  const char* name;
  void (*entry)();  // runs the kernel for the thread at hand
  const void* code;
  const Param* params;
  unsigned num_params;
  unsigned max_threads;     // [[max_total_threads_per_threadgroup]], or 0
  const char* const* uses;  // names of the function constants it may read, ends with null
};

struct FunctionConstant {
  unsigned index;
  const char* name;
  unsigned size;
  const char* type;
};

// A threadgroup variable declared in a kernel's body, found in a section of the compiled library.
struct ThreadgroupVariable {
  const void* code;  // an address inside the kernel
  unsigned long id, size, align;
};

struct Library {
  const Kernel* kernels;
  unsigned num_kernels;
  const FunctionConstant* constants;
  unsigned num_constants;
  const ThreadgroupVariable *variables_begin, *variables_end;
};

// The thread that is running. One of these a lane; the runtime switches `metal_host_thread`.
struct Thread {
  unsigned position_in_grid[3], position_in_group[3];
  unsigned index_in_group, lane, simdgroup;
};

// What all threads of the running threadgroup share.
struct Group {
  unsigned position[3];            // of this group in the grid
  unsigned groups[3], threads[3];  // groups in the grid, threads in a group
  unsigned threads_in_grid[3];
  unsigned simdgroups;
  void* buffers[kMaxBuffers];
  void* threadgroup[kMaxThreadgroupArgs];
  void* const* variables;  // by id
};

// Values that the lanes of a simdgroup bring to a simd operation, and take from it.
struct Exchange {
  alignas(16) unsigned char value[kLanes][16];
  unsigned operand[kLanes];  // a lane or a distance
  unsigned active;           // a bit a lane
};
// Turns the lanes' values into their results, in place. Returns null, or what is wrong with them.
using Combine = const char* (*)(Exchange&);

enum MemFlags : unsigned { kMemNone = 0, kMemDevice = 1, kMemThreadgroup = 2 };

}  // namespace metal_host

extern "C" {
extern metal_host::Thread* metal_host_thread;
extern const metal_host::Group* metal_host_group;
// `what` names the operation; it must outlive the library's use and is compared by content.
void metal_host_barrier(unsigned mem_flags, const char* what, int line);
void metal_host_simdgroup_barrier(unsigned mem_flags, const char* what, int line);
// The running lane's slot of its simdgroup's exchange: fill it, then meet the others.
metal_host::Exchange* metal_host_exchange();
void metal_host_meet(metal_host::Combine combine, const char* what, int line);
// A relaxed atomic access, before it happens; the race detector's.
void metal_host_atomic(const volatile void* address, unsigned size, int write);
// The compiler's checks (sanitizer.h). `code` is where in the kernel.
void metal_host_access(const void* address, unsigned long size, int write, const void* code);
[[noreturn]] void metal_host_misaligned(const void* address, unsigned alignment, const void* code);
[[noreturn]] void metal_host_index(unsigned long index, const void* code);
[[noreturn]] void metal_host_division(const void* code);
// The value given for a function constant, or null.
const void* metal_host_function_constant(unsigned index, const char* name);
}

#endif  // DECANT_TESTING_METAL_HOST_SHIM_ABI_H_
