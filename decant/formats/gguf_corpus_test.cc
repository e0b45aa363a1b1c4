// The fuzzer's seed corpus, testing/corpus/gguf, is what the builder makes of the files below. With
// DECANT_WRITE_CORPUS=1 the test writes them instead of comparing them.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "decant/formats/gguf.h"
#include "testing/gguf_builder.h"

namespace decant {
namespace {

using testing::GgufBuilder;

struct Seed {
  const char* name;
  GgufBuilder builder;
};

std::vector<Seed> seeds() {
  std::vector<Seed> all = {{"every_type.gguf", testing::sample_gguf()}};
  GgufBuilder metadata, tensors, aligned;
  metadata.version = 2;
  metadata.add("general.architecture", "gemma3").add<uint32_t>("gemma3.block_count", 18);
  metadata.add_array<std::string_view>("tokenizer.ggml.tokens", {"<pad>", "<eos>", "<bos>"});
  metadata.add_array<float>("tokenizer.ggml.scores", {0, -1, -2});
  all.push_back({"metadata_only.gguf", metadata});
  tensors.add_tensor("iq", 17, {256}, std::vector<std::byte>(74));
  tensors.add_tensor("future", 4711, {2, 5, 1, 3}, std::vector<std::byte>(8));
  tensors.add_random_tensor("f", DType::kF32, {2, 2}, 1);
  all.push_back({"tensors_only.gguf", tensors});
  aligned.alignment = 8;
  aligned.add("general.alignment", uint32_t{8});
  aligned.add_random_tensor("a", DType::kI8, {1}, 1).add_random_tensor("b", DType::kI8, {9}, 2);
  all.push_back({"aligned.gguf", aligned});
  return all;
}

TEST(GgufCorpus, IsWhatTheBuilderMakes) {
  const std::filesystem::path directory =
      std::filesystem::path(__FILE__).parent_path() / "../../testing/corpus/gguf";
  const char* write = std::getenv("DECANT_WRITE_CORPUS");
  for (const Seed& seed : seeds()) {
    SCOPED_TRACE(seed.name);
    const std::vector<std::byte> want = seed.builder.build();
    const std::span<const char> chars(reinterpret_cast<const char*>(want.data()), want.size());
    EXPECT_NO_THROW(GgufFile::parse(want, nullptr, seed.name));
    if (write && *write) {
      std::filesystem::create_directories(directory);
      std::ofstream(directory / seed.name, std::ios::binary)
          .write(chars.data(), static_cast<std::streamsize>(chars.size()));
    }
    std::ifstream file(directory / seed.name, std::ios::binary);
    const std::string got{std::istreambuf_iterator<char>(file), {}};
    EXPECT_TRUE(std::equal(got.begin(), got.end(), chars.begin(), chars.end()));
  }
}

}  // namespace
}  // namespace decant
