// What the tests of the model have in common: references from files, and rows of logits compared.
#ifndef DECANT_MODELS_GEMMA3_TEST_LOGITS_H_
#define DECANT_MODELS_GEMMA3_TEST_LOGITS_H_

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <span>
#include <vector>

#include "decant/core/error.h"
#include "decant/models/gemma3/model.h"
#include "testing/compare.h"

namespace decant::gemma3 {

inline constexpr double kBound = 1e-3;  // relative L2 of a row of logits, with f32 activations
inline const SamplerOptions kGreedy{.temp = 0};

inline ModelOptions f32(uint32_t context, uint32_t prompt_batch = 512) {
  return {.context = context, .prompt_batch = prompt_batch, .activations = Activations::kF32};
}

// Where testing/make_references.sh left its files.
inline std::filesystem::path folder() {
  const char* path = std::getenv("DECANT_TEST_REFERENCES");
  return path ? path : "";
}

template <typename T>
std::vector<T> read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes(std::istreambuf_iterator<char>(file), {});
  std::vector<T> values(bytes.size() / sizeof(T));
  std::copy_n(bytes.data(), values.size() * sizeof(T), reinterpret_cast<char*>(values.data()));
  return values;
}

inline std::vector<float> logits_of(const Model& model) {
  std::vector<float> all(model.logits().elements());
  model.device().read(model.logits(), std::as_writable_bytes(std::span(all)));
  return all;
}

inline size_t argmax(std::span<const double> row) {
  return static_cast<size_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

// ||got - want||_2 / ||want||_2.
inline double relative_error(std::span<const float> got, std::span<const double> want) {
  double error = 0, norm = 0;
  for (size_t j = 0; j < want.size(); ++j) {
    error += (double{got[j]} - want[j]) * (double{got[j]} - want[j]);
    norm += want[j] * want[j];
  }
  return std::sqrt(error / norm);
}

// Within the bound, and the same best token wherever the reference's two best are further apart
// than the bound allows an element to move.
inline void expect_logits(std::span<const float> got, std::span<const double> want) {
  ASSERT_TRUE(testing::rows_near(got, want, want.size(), kBound));
  double norm = 0;
  for (const double x : want) norm += x * x;
  const size_t best = argmax(want);
  std::vector<double> rest(want.begin(), want.end());
  rest[best] = -HUGE_VAL;
  if (want[best] - rest[argmax(rest)] <= 2 * kBound * std::sqrt(norm)) return;
  ASSERT_EQ(argmax(std::vector<double>(got.begin(), got.end())), best);
}

inline std::optional<Device> gpu() {
  try {
    return Device::cuda();
  } catch (const Error& e) {
    fmt::print(stderr, "SKIPPED: {}\n", e.what());
    return std::nullopt;
  }
}

}  // namespace decant::gemma3

#endif  // DECANT_MODELS_GEMMA3_TEST_LOGITS_H_
