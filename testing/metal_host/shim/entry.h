// How a kernel gets its arguments: from its C++ type and what the source step noted of its
// attributes. The keywords of MSL become C++ here, last.
#ifndef DECANT_TESTING_METAL_HOST_SHIM_ENTRY_H_
#define DECANT_TESTING_METAL_HOST_SHIM_ENTRY_H_

#include "atomic.h"
#include "sanitizer.h"
#include "simd.h"

namespace metal_host {

using metal::vec;

// --- Values of thread attributes: a scalar takes x, a vector of N the first N.
template <typename A>
struct From3 {
  static A get(const unsigned (&v)[3]) { return static_cast<A>(v[0]); }
};
template <typename T>
struct From3<vec<T, 2>> {
  static vec<T, 2> get(const unsigned (&v)[3]) { return vec<T, 2>(v[0], v[1]); }
};
template <typename T>
struct From3<vec<T, 3>> {
  static vec<T, 3> get(const unsigned (&v)[3]) { return vec<T, 3>(v[0], v[1], v[2]); }
};

template <typename A>
struct Bind {
  static A get(const Param& param) {
    const Thread& thread = *metal_host_thread;
    const Group& group = *metal_host_group;
    unsigned one[3] = {0, 1, 1};
    switch (param.kind) {
      case ParamKind::kThreadPositionInGrid:
        return From3<A>::get(thread.position_in_grid);
      case ParamKind::kThreadsPerGrid:
        return From3<A>::get(group.threads_in_grid);
      case ParamKind::kThreadPositionInThreadgroup:
        return From3<A>::get(thread.position_in_group);
      case ParamKind::kThreadsPerThreadgroup:
        return From3<A>::get(group.threads);
      case ParamKind::kThreadgroupPositionInGrid:
        return From3<A>::get(group.position);
      case ParamKind::kThreadgroupsPerGrid:
        return From3<A>::get(group.groups);
      case ParamKind::kThreadIndexInThreadgroup:
        one[0] = thread.index_in_group;
        break;
      case ParamKind::kThreadIndexInSimdgroup:
        one[0] = thread.lane;
        break;
      case ParamKind::kSimdgroupIndexInThreadgroup:
        one[0] = thread.simdgroup;
        break;
      case ParamKind::kSimdgroupsPerThreadgroup:
        one[0] = group.simdgroups;
        break;
      default:
        one[0] = kLanes;
        break;
    }
    return From3<A>::get(one);
  }
  static constexpr bool reference = false, writable = false;
  static constexpr unsigned size = 0, align = 1;
};

inline void* memory_of(const Param& param) {
  const Group& group = *metal_host_group;
  return param.kind == ParamKind::kBuffer ? group.buffers[param.index]
                                          : group.threadgroup[param.index];
}
template <typename T>
struct SizeOf {
  static constexpr unsigned size = sizeof(T), align = alignof(T);
};
template <>
struct SizeOf<void> {
  static constexpr unsigned size = 0, align = 1;
};
template <>
struct SizeOf<const void> : SizeOf<void> {};
template <typename T>
struct IsConst : metal::false_type {};
template <typename T>
struct IsConst<const T> : metal::true_type {};

template <typename T>
struct Bind<T*> {
  static T* get(const Param& param) { return static_cast<T*>(memory_of(param)); }
  static constexpr bool reference = false, writable = !IsConst<T>::value;
  static constexpr unsigned size = SizeOf<T>::size, align = SizeOf<T>::align;
};
template <typename T>
struct Bind<T&> {
  static T& get(const Param& param) { return *static_cast<T*>(memory_of(param)); }
  static constexpr bool reference = true, writable = !IsConst<T>::value;
  static constexpr unsigned size = sizeof(T), align = alignof(T);
};

template <int... I>
struct Indices {};
template <int N, int... I>
struct MakeIndices : MakeIndices<N - 1, N - 1, I...> {};
template <int... I>
struct MakeIndices<0, I...> {
  using type = Indices<I...>;
};

template <typename... A, int... I>
inline void call_with(void (*kernel)(A...), const Param* params, Indices<I...>) {
  kernel(Bind<A>::get(params[I])...);
}
template <typename... A>
inline void call(void (*kernel)(A...), const Param* params) {
  call_with(kernel, params, typename MakeIndices<sizeof...(A)>::type{});
}

// Adds to the noted parameters what only the types know.
template <typename... A>
inline const Param* describe(void (*)(A...), Param* params) {
  const Param types[] = {{ParamKind::kBuffer, 0, nullptr, true, Bind<A>::reference,
                          Bind<A>::writable, Bind<A>::size, Bind<A>::align}...,
                         {}};
  for (unsigned i = 0; i < sizeof...(A); ++i) {
    params[i].reference = types[i].reference;
    params[i].writable = types[i].writable;
    params[i].size = types[i].size;
    params[i].align = types[i].align;
  }
  return params;
}

// --- Function constants: read when the library is loaded, which happens once for each set of them.
template <typename T>
inline T function_constant(unsigned index, const char* name) {
  T value{};
  if (const void* given = metal_host_function_constant(index, name))
    __builtin_memcpy(static_cast<void*>(&value), given, sizeof(T));
  return value;
}
template <typename T>
struct TypeName {
  static constexpr const char* value = "other";
};
#define METAL_HOST_TYPE_NAME(T)              \
  template <>                                \
  struct TypeName<T> {                       \
    static constexpr const char* value = #T; \
  };
METAL_HOST_TYPE_NAME(bool)
METAL_HOST_TYPE_NAME(char)
METAL_HOST_TYPE_NAME(uchar)
METAL_HOST_TYPE_NAME(short)
METAL_HOST_TYPE_NAME(ushort)
METAL_HOST_TYPE_NAME(int)
METAL_HOST_TYPE_NAME(uint)
METAL_HOST_TYPE_NAME(long)
METAL_HOST_TYPE_NAME(ulong)
METAL_HOST_TYPE_NAME(half)
METAL_HOST_TYPE_NAME(float)

// --- Threadgroup variables. The note in the section tells the runtime, before anything runs, how
// much memory the kernel that contains this address needs.
template <typename T, unsigned long id>
__attribute__((always_inline)) inline T& threadgroup_variable() {
  static_assert(__is_trivially_copyable(T) || sizeof(T) > 0, "");
  asm volatile(
      "0: .pushsection metal_host_variables, \"aw\"\n"
      ".balign 8\n .quad 0b, %c0, %c1, %c2\n .popsection" ::"i"(id),
      "i"(sizeof(T)), "i"(alignof(T)));
  return *reinterpret_cast<T*>(metal_host_group->variables[id]);
}

}  // namespace metal_host

// The section's bounds, by the linker.
extern "C" const metal_host::ThreadgroupVariable __start_metal_host_variables[]
    __attribute__((weak, visibility("hidden")));
extern "C" const metal_host::ThreadgroupVariable __stop_metal_host_variables[]
    __attribute__((weak, visibility("hidden")));

#define device
#define thread
#define threadgroup
#define constant const
#define METAL_FUNC inline

#endif  // DECANT_TESTING_METAL_HOST_SHIM_ENTRY_H_
