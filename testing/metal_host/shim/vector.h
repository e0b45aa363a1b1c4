// metal::vec<T, N>: components, swizzles, arithmetic.
//
// Swizzles are members that overlay the components. The source step defines
// METAL_HOST_SWIZZLES_2..4 with just those that a source uses, which keeps compiling fast.
#ifndef DECANT_TESTING_METAL_HOST_SHIM_VECTOR_H_
#define DECANT_TESTING_METAL_HOST_SHIM_VECTOR_H_

#include "types.h"

namespace metal {

template <typename T, int N>
struct vec;
// packed_float3 and the like. V is a vec, named whole so that its friends are found for this too.
template <typename V>
struct packed_vec;

// V is the type the swizzle reads as; it is named first so that V's friends are found for it.
template <typename V, int N, int... I>
struct swizzle;
template <typename T, int M, int N, int... I>
struct swizzle<vec<T, M>, N, I...> {
  T data[N];
  constexpr operator vec<T, M>() const { return vec<T, M>(data[I]...); }
  // Not `= default`: that would copy all N components.
  constexpr swizzle& operator=(const swizzle& other) { return assign(other); }
  constexpr swizzle& operator=(const vec<T, M>& value) { return assign(value); }
  constexpr swizzle& operator+=(const vec<T, M>& b) { return assign(vec<T, M>(*this) + b); }
  constexpr swizzle& operator-=(const vec<T, M>& b) { return assign(vec<T, M>(*this) - b); }
  constexpr swizzle& operator*=(const vec<T, M>& b) { return assign(vec<T, M>(*this) * b); }
  constexpr swizzle& operator/=(const vec<T, M>& b) { return assign(vec<T, M>(*this) / b); }
  constexpr T operator[](int i) const { return vec<T, M>(*this)[i]; }

 private:
  constexpr swizzle& assign(vec<T, M> value) {
    constexpr int at[] = {I...};
    for (int i = 0; i < M; ++i) data[at[i]] = value.data[i];
    return *this;
  }
};

// How many components an argument of a constructor has, and its i-th one.
template <typename T>
struct components {
  static constexpr int count = is_scalar<T>::value ? 1 : 0;
  template <typename To>
  static constexpr To get(const T& value, int) {
    return static_cast<To>(value);
  }
};
template <typename T, int N>
struct components<vec<T, N>> {
  static constexpr int count = N;
  template <typename To>
  static constexpr To get(const vec<T, N>& value, int i) {
    return static_cast<To>(value.data[i]);
  }
};
template <typename T, int M, int N, int... I>
struct components<swizzle<vec<T, M>, N, I...>> {
  static constexpr int count = M;
  template <typename To>
  static constexpr To get(const swizzle<vec<T, M>, N, I...>& value, int i) {
    constexpr int at[] = {I...};
    return static_cast<To>(value.data[at[i]]);
  }
};
template <typename... A>
struct count_components {
  static constexpr int value = 0;
};
template <typename A, typename... B>
struct count_components<A, B...> {
  static constexpr int value = components<A>::count + count_components<B...>::value;
};

// The same text for every N; what differs is the storage.
#define METAL_HOST_VECTOR_COMMON(N)                                                   \
  using element_type = T;                                                             \
  vec() = default;                                                                    \
  constexpr vec(const vec&) = default;                                                \
  constexpr vec& operator=(const vec& other) {                                        \
    for (int i = 0; i < N; ++i) data[i] = other.data[i];                              \
    return *this;                                                                     \
  }                                                                                   \
  template <typename S, enable_if_t<is_scalar<S>::value, int> = 0>                    \
  constexpr vec(S s) : data{} {                                                       \
    for (int i = 0; i < N; ++i) data[i] = static_cast<T>(s);                          \
  }                                                                                   \
  template <typename U, enable_if_t<!is_same<U, T>::value, int> = 0>                  \
  constexpr explicit vec(const vec<U, N>& v) : data{} {                               \
    for (int i = 0; i < N; ++i) data[i] = static_cast<T>(v.data[i]);                  \
  }                                                                                   \
  template <typename U, int M, int... I, enable_if_t<!is_same<U, T>::value, int> = 0> \
  constexpr explicit vec(const swizzle<vec<U, N>, M, I...>& v) : vec(vec<U, N>(v)) {} \
  template <typename U, enable_if_t<!is_same<U, T>::value, int> = 0>                  \
  constexpr explicit vec(const packed_vec<vec<U, N>>& v) : vec(vec<U, N>(v)) {}       \
  template <typename A, typename B, typename... C,                                    \
            enable_if_t<count_components<A, B, C...>::value == N, int> = 0>           \
  constexpr vec(const A& a, const B& b, const C&... c) : data{} {                     \
    fill(0, a, b, c...);                                                              \
  }                                                                                   \
  constexpr T& operator[](int i) { return data[i]; }                                  \
  constexpr const T& operator[](int i) const { return data[i]; }                      \
                                                                                      \
 private:                                                                             \
  constexpr void fill(int) {}                                                         \
  template <typename A, typename... B>                                                \
  constexpr void fill(int at, const A& a, const B&... b) {                            \
    for (int i = 0; i < components<A>::count; ++i)                                    \
      data[at + i] = components<A>::template get<T>(a, i);                            \
    fill(at + components<A>::count, b...);                                            \
  }                                                                                   \
                                                                                      \
 public:                                                                              \
  METAL_HOST_VECTOR_OP(N, +)                                                          \
  METAL_HOST_VECTOR_OP(N, -)                                                          \
  METAL_HOST_VECTOR_OP(N, *)                                                          \
  METAL_HOST_VECTOR_OP(N, /)                                                          \
  METAL_HOST_VECTOR_OP(N, %)                                                          \
  METAL_HOST_VECTOR_OP(N, &)                                                          \
  METAL_HOST_VECTOR_OP(N, |)                                                          \
  METAL_HOST_VECTOR_OP(N, ^)                                                          \
  METAL_HOST_VECTOR_OP(N, <<)                                                         \
  METAL_HOST_VECTOR_OP(N, >>)                                                         \
  METAL_HOST_VECTOR_COMPARE(N, ==)                                                    \
  METAL_HOST_VECTOR_COMPARE(N, !=)                                                    \
  METAL_HOST_VECTOR_COMPARE(N, <)                                                     \
  METAL_HOST_VECTOR_COMPARE(N, <=)                                                    \
  METAL_HOST_VECTOR_COMPARE(N, >)                                                     \
  METAL_HOST_VECTOR_COMPARE(N, >=)                                                    \
  METAL_HOST_VECTOR_COMPARE(N, &&)                                                    \
  METAL_HOST_VECTOR_COMPARE(N, ||)                                                    \
  METAL_HOST_VECTOR_UNARY(N, T, -)                                                    \
  METAL_HOST_VECTOR_UNARY(N, T, ~)                                                    \
  METAL_HOST_VECTOR_UNARY(N, bool, !)                                                 \
  friend constexpr vec operator+(const vec& a) { return a; }

// Friends that are no templates, so that scalars and swizzles convert to either operand.
#define METAL_HOST_VECTOR_OP(N, op)                                                 \
  friend constexpr vec operator op(const vec& a, const vec& b) {                    \
    vec r{};                                                                        \
    for (int i = 0; i < N; ++i) r.data[i] = static_cast<T>(a.data[i] op b.data[i]); \
    return r;                                                                       \
  }                                                                                 \
  friend constexpr vec& operator op##=(vec& a, const vec& b) { return a = a op b; }
#define METAL_HOST_VECTOR_COMPARE(N, op)                                  \
  friend constexpr vec<bool, N> operator op(const vec& a, const vec& b) { \
    vec<bool, N> r{};                                                     \
    for (int i = 0; i < N; ++i) r.data[i] = a.data[i] op b.data[i];       \
    return r;                                                             \
  }
#define METAL_HOST_VECTOR_UNARY(N, R, op)                                 \
  friend constexpr vec<R, N> operator op(const vec& a) {                  \
    vec<R, N> r{};                                                        \
    for (int i = 0; i < N; ++i) r.data[i] = static_cast<R>(op a.data[i]); \
    return r;                                                             \
  }

template <typename T>
struct alignas(2 * sizeof(T)) vec<T, 2> {
  union {
    T data[2];
    struct {
      T x, y;
    };
    struct {
      T r, g;
    };
    METAL_HOST_SWIZZLES_2
  };
  METAL_HOST_VECTOR_COMMON(2)
};

// Three components take the room of four.
template <typename T>
struct alignas(4 * sizeof(T)) vec<T, 3> {
  union {
    T data[3];
    struct {
      T x, y, z;
    };
    struct {
      T r, g, b;
    };
    METAL_HOST_SWIZZLES_3
  };
  METAL_HOST_VECTOR_COMMON(3)
};

template <typename T>
struct alignas(4 * sizeof(T)) vec<T, 4> {
  union {
    T data[4];
    struct {
      T x, y, z, w;
    };
    struct {
      T r, g, b, a;
    };
    METAL_HOST_SWIZZLES_4
  };
  METAL_HOST_VECTOR_COMMON(4)
};

// Aligned as one component.
template <typename T, int N>
struct packed_vec<vec<T, N>> {
  T data[N];
  packed_vec() = default;
  constexpr packed_vec(const vec<T, N>& v) : data{} { *this = v; }
  template <typename A, typename... B, enable_if_t<count_components<A, B...>::value == N, int> = 0>
  constexpr packed_vec(const A& a, const B&... b) : packed_vec(vec<T, N>(a, b...)) {}
  constexpr packed_vec& operator=(const vec<T, N>& v) {
    for (int i = 0; i < N; ++i) data[i] = v.data[i];
    return *this;
  }
  constexpr operator vec<T, N>() const {
    vec<T, N> v{};
    for (int i = 0; i < N; ++i) v.data[i] = data[i];
    return v;
  }
  constexpr T& operator[](int i) { return data[i]; }
  constexpr const T& operator[](int i) const { return data[i]; }
};

#define METAL_HOST_NAME_VECTORS(T, name)          \
  using name##2 = vec<T, 2>;                      \
  using name##3 = vec<T, 3>;                      \
  using name##4 = vec<T, 4>;                      \
  using packed_##name##2 = packed_vec<vec<T, 2>>; \
  using packed_##name##3 = packed_vec<vec<T, 3>>; \
  using packed_##name##4 = packed_vec<vec<T, 4>>;
METAL_HOST_NAME_VECTORS(bool, bool)
METAL_HOST_NAME_VECTORS(char, char)
METAL_HOST_NAME_VECTORS(uchar, uchar)
METAL_HOST_NAME_VECTORS(short, short)
METAL_HOST_NAME_VECTORS(ushort, ushort)
METAL_HOST_NAME_VECTORS(int, int)
METAL_HOST_NAME_VECTORS(uint, uint)
METAL_HOST_NAME_VECTORS(long, long)
METAL_HOST_NAME_VECTORS(ulong, ulong)
METAL_HOST_NAME_VECTORS(half, half)
METAL_HOST_NAME_VECTORS(bfloat, bfloat)
METAL_HOST_NAME_VECTORS(float, float)

// Columns of vectors.
template <typename T, int C, int R>
struct matrix {
  vec<T, R> columns[C];
  matrix() = default;
  explicit matrix(T diagonal) {
    for (int c = 0; c < C; ++c)
      for (int r = 0; r < R; ++r) columns[c][r] = c == r ? diagonal : T(0);
  }
  template <typename... V, enable_if_t<sizeof...(V) == C, int> = 0>
  matrix(const V&... v) : columns{vec<T, R>(v)...} {}
  vec<T, R>& operator[](int c) { return columns[c]; }
  const vec<T, R>& operator[](int c) const { return columns[c]; }
  friend vec<T, R> operator*(const matrix& m, const vec<T, C>& v) {
    vec<T, R> sum(0);
    for (int c = 0; c < C; ++c) sum += m.columns[c] * v.data[c];
    return sum;
  }
};
#define METAL_HOST_NAME_MATRICES(T, n) \
  using T##2x##n = matrix<T, 2, n>;    \
  using T##3x##n = matrix<T, 3, n>;    \
  using T##4x##n = matrix<T, 4, n>;
METAL_HOST_NAME_MATRICES(float, 2)
METAL_HOST_NAME_MATRICES(float, 3)
METAL_HOST_NAME_MATRICES(float, 4)
METAL_HOST_NAME_MATRICES(half, 2)
METAL_HOST_NAME_MATRICES(half, 3)
METAL_HOST_NAME_MATRICES(half, 4)

}  // namespace metal

#endif  // DECANT_TESTING_METAL_HOST_SHIM_VECTOR_H_
