#include "decant/formats/gguf.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "decant/core/error.h"
#include "testing/gguf_builder.h"

namespace decant {
namespace {

using testing::GgufBuilder;
using testing::sample_gguf;

GgufFile parse(const std::vector<std::byte>& bytes) {
  return GgufFile::parse(bytes, nullptr, "test.gguf");
}

template <typename Fn>
void expect_error(ErrorKind kind, const std::string& message, Fn&& fn) {
  try {
    fn();
    ADD_FAILURE() << "nothing thrown; expected: " << message;
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind);
    EXPECT_EQ(e.what(), message);
  }
}

template <typename T>
std::vector<T> all(const GgufArray<T>& array) {
  return {array.begin(), array.end()};
}

TEST(Gguf, ReadsEveryMetadataType) {
  const std::vector<std::byte> bytes = sample_gguf().build();
  const GgufFile file = parse(bytes);
  EXPECT_EQ(file.version(), 3u);
  EXPECT_EQ(file.alignment(), 32u);
  EXPECT_EQ(file.get<std::string_view>("general.architecture"), "sample");
  EXPECT_EQ(file.get<uint8_t>("n.u8"), 200);
  EXPECT_EQ(file.get<int8_t>("n.i8"), -100);
  EXPECT_EQ(file.get<uint16_t>("n.u16"), 60000);
  EXPECT_EQ(file.get<int16_t>("n.i16"), -30000);
  EXPECT_EQ(file.get<uint32_t>("n.u32"), 4'000'000'000u);
  EXPECT_EQ(file.get<int32_t>("n.i32"), -2'000'000'000);
  EXPECT_EQ(file.get<uint64_t>("n.u64"), UINT64_MAX);
  EXPECT_EQ(file.get<int64_t>("n.i64"), INT64_MIN);
  EXPECT_EQ(file.get<float>("n.f32"), 1.5f);
  EXPECT_EQ(file.get<double>("n.f64"), 2.25);
  EXPECT_TRUE(file.get<bool>("n.true"));
  EXPECT_FALSE(file.get<bool>("n.false"));
  EXPECT_EQ(file.get<std::string>("s.empty"), "");
  EXPECT_EQ(file.get<std::string>("s.bytes"), std::string("a\0\n\xff", 4));
  EXPECT_EQ(all(file.get<GgufArray<uint8_t>>("a.u8")), (std::vector<uint8_t>{1, 2, 255}));
  EXPECT_EQ(all(file.get<GgufArray<int32_t>>("a.i32")), (std::vector<int32_t>{-1, 0, 1, 3}));
  EXPECT_EQ(file.get<GgufArray<int32_t>>("a.i32")[3], 3);
  EXPECT_EQ(all(file.get<GgufArray<float>>("a.f32")), (std::vector<float>{0.5f, -0.25f}));
  EXPECT_EQ(all(file.get<GgufArray<double>>("a.f64")), (std::vector<double>{0.125}));
  EXPECT_EQ(all(file.get<GgufArray<bool>>("a.bool")), (std::vector<bool>{true, false, true}));
  EXPECT_EQ(all(file.get<GgufArray<std::string_view>>("a.strings")),
            (std::vector<std::string_view>{"<pad>", "", "\xe2\x96\x81the", "\n\n"}));
  EXPECT_TRUE(file.get<GgufArray<uint64_t>>("a.empty").empty());
  EXPECT_TRUE(all(file.get<GgufArray<std::string_view>>("a.no_strings")).empty());
}

TEST(Gguf, KeepsTheFilesOrderAndFindsByName) {
  const std::vector<std::byte> bytes = sample_gguf().build();
  const GgufFile file = parse(bytes);
  EXPECT_EQ(file.metadata()[0].key, "general.architecture");
  EXPECT_EQ(file.metadata()[2].key, "n.u8");
  for (const GgufEntry& entry : file.metadata()) EXPECT_EQ(file.find(entry.key), &entry);
  for (const GgufTensor& tensor : file.tensors()) EXPECT_EQ(file.find_tensor(tensor.name), &tensor);
  for (const char* missing : {"", "a", "n.u", "n.u88", "zzz"}) {
    EXPECT_EQ(file.find(missing), nullptr) << missing;
    EXPECT_EQ(file.find_tensor(missing), nullptr) << missing;
  }
}

TEST(Gguf, ConvertsNumbersThatFit) {
  const std::vector<std::byte> bytes = sample_gguf().build();
  const GgufFile file = parse(bytes);
  EXPECT_EQ(file.get<uint64_t>("n.u8"), 200u);
  EXPECT_EQ(file.get<int64_t>("n.i8"), -100);
  EXPECT_EQ(file.get<uint32_t>("n.u16"), 60000u);
  EXPECT_EQ(file.get<double>("n.f32"), 1.5);
  EXPECT_EQ(file.get<float>("n.f64"), 2.25f);
  const auto fails = [&](const std::string& message, auto&& fn) {
    expect_error(ErrorKind::kGgufParse, "test.gguf: metadata " + message, fn);
  };
  fails("'n.u8': expected a value that fits i8, got u8 200", [&] { file.get<int8_t>("n.u8"); });
  fails("'n.i8': expected a value that fits u32, got i8 -100", [&] { file.get<uint32_t>("n.i8"); });
  fails("'n.u64': expected a value that fits i64, got u64 18446744073709551615",
        [&] { file.get<int64_t>("n.u64"); });
  fails("'n.i64': expected a value that fits u64, got i64 -9223372036854775808",
        [&] { file.get<uint64_t>("n.i64"); });
}

TEST(Gguf, NamesKeyExpectedAndReceivedType) {
  const std::vector<std::byte> bytes = sample_gguf().build();
  const GgufFile file = parse(bytes);
  const auto fails = [&](const std::string& message, auto&& fn) {
    expect_error(ErrorKind::kGgufParse, "test.gguf: metadata " + message, fn);
  };
  fails("'n.missing': expected u32, got no such key", [&] { file.get<uint32_t>("n.missing"); });
  fails("'s.empty': expected u32, got string", [&] { file.get<uint32_t>("s.empty"); });
  fails("'n.f32': expected i32, got f32", [&] { file.get<int32_t>("n.f32"); });
  fails("'n.u32': expected f32, got u32", [&] { file.get<float>("n.u32"); });
  fails("'n.u8': expected bool, got u8", [&] { file.get<bool>("n.u8"); });
  fails("'n.true': expected u8, got bool", [&] { file.get<uint8_t>("n.true"); });
  fails("'n.u8': expected string, got u8", [&] { file.get<std::string>("n.u8"); });
  fails("'a.i32': expected array of f32, got array of i32",
        [&] { file.get<GgufArray<float>>("a.i32"); });
  fails("'n.f32': expected array of f32, got f32", [&] { file.get<GgufArray<float>>("n.f32"); });
  fails("'a.strings': expected string, got array of string",
        [&] { file.get<std::string>("a.strings"); });
  fails("'a.i32': expected array of string, got array of i32",
        [&] { file.get<GgufArray<std::string_view>>("a.i32"); });
  // A key that is there with another type is not the same as a key that is missing.
  EXPECT_EQ(file.get_or<uint32_t>("n.missing", 7), 7u);
  EXPECT_EQ(file.get_or<uint32_t>("n.u8", 7), 200u);
  fails("'n.f32': expected u32, got f32", [&] { file.get_or<uint32_t>("n.f32", 7); });
  EXPECT_THROW(file.get<GgufArray<int32_t>>("a.i32")[4], Error);
}

TEST(Gguf, DescribesValues) {
  const std::vector<std::byte> bytes = sample_gguf().build();
  const GgufFile file = parse(bytes);
  const auto text = [&](const char* key) { return file.find(key)->value.to_string(2); };
  EXPECT_EQ(text("n.u8"), "200");
  EXPECT_EQ(text("n.i64"), "-9223372036854775808");
  EXPECT_EQ(text("n.f32"), "1.5");
  EXPECT_EQ(text("n.true"), "true");
  EXPECT_EQ(text("s.bytes"), "'a\\x00\\x0a\xff'");
  EXPECT_EQ(text("a.i32"), "[-1, 0, ... 4 in all]");
  EXPECT_EQ(text("a.f64"), "[0.125]");
  EXPECT_EQ(text("a.empty"), "[]");
  EXPECT_EQ(text("a.strings"), "['<pad>', '', ... 4 in all]");
}

TEST(Gguf, TensorsAreWhereTheFileSays) {
  GgufBuilder b;
  std::vector<std::byte> first(2 * 3 * 4), second(5);
  for (size_t i = 0; i < first.size(); ++i) first[i] = static_cast<std::byte>(i);
  for (size_t i = 0; i < second.size(); ++i) second[i] = static_cast<std::byte>(0xA0 + i);
  b.add_tensor("first", 0, {2, 3}, first).add_tensor("second", 24, {5}, second);
  for (const uint32_t version : {2u, 3u}) {
    b.version = version;
    const std::vector<std::byte> bytes = b.build();
    const GgufFile file = parse(bytes);
    EXPECT_EQ(file.version(), version);
    const GgufTensor& t = file.tensor("first");
    EXPECT_EQ(t.shape, (Shape{2, 3}));
    EXPECT_EQ(t.dtype, DType::kF32);
    EXPECT_EQ(t.offset % 32, 0u);
    EXPECT_TRUE(std::equal(t.bytes.begin(), t.bytes.end(), first.begin(), first.end()));
    EXPECT_EQ(t.bytes.data(), bytes.data() + t.offset);
    const GgufTensor& u = file.tensor("second");
    EXPECT_EQ(u.offset, t.offset + 32);
    EXPECT_TRUE(std::equal(u.bytes.begin(), u.bytes.end(), second.begin(), second.end()));
  }
}

TEST(Gguf, HonoursAlignment) {
  for (const uint32_t alignment : {8u, 64u, 4096u}) {
    GgufBuilder b;
    b.alignment = alignment;
    b.add("general.alignment", alignment);
    b.add_random_tensor("a", DType::kI8, {3}, 1).add_random_tensor("b", DType::kI8, {3}, 2);
    const std::vector<std::byte> bytes = b.build();
    const GgufFile file = parse(bytes);
    EXPECT_EQ(file.alignment(), alignment);
    EXPECT_EQ(file.tensor("a").offset % alignment, 0u);
    EXPECT_EQ(file.tensor("b").offset, file.tensor("a").offset + alignment);
  }
}

TEST(Gguf, ReadsFilesWithoutTensorsOrMetadata) {
  EXPECT_TRUE(parse(GgufBuilder().build()).tensors().empty());
  EXPECT_EQ(parse(GgufBuilder().add("k", true).build()).metadata().size(), 1u);
}

TEST(Gguf, ListsUnsupportedTensorTypesAndRefusesTheirUse) {
  GgufBuilder b;
  b.add_tensor("iq", 17, {2, 256}, std::vector<std::byte>(2 * 74));
  b.add_tensor("q8_1", 9, {32}, std::vector<std::byte>(40));
  b.add_tensor("future", 4711, {2, 5}, std::vector<std::byte>(40));
  b.add_random_tensor("fine", DType::kF32, {4}, 1);
  const std::vector<std::byte> bytes = b.build();
  const GgufFile file = parse(bytes);
  ASSERT_EQ(file.tensors().size(), 4u);
  EXPECT_EQ(file.find_tensor("iq")->type_name, "IQ2_XS");
  EXPECT_EQ(file.find_tensor("iq")->bytes.size(), 2u * 74);
  EXPECT_FALSE(file.find_tensor("iq")->dtype);
  EXPECT_TRUE(file.find_tensor("future")->bytes.empty());

  const Device device = Device::cpu({.threads = 1});
  const std::string expected =
      ": expected F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 or Q2_K to Q6_K, got type ";
  expect_error(ErrorKind::kUnsupportedDtype,
               "test.gguf: tensor 'iq'" + expected + "IQ2_XS (number 17)",
               [&] { file.weight(device, "iq"); });
  expect_error(ErrorKind::kUnsupportedDtype,
               "test.gguf: tensor 'q8_1'" + expected + "Q8_1 (number 9)",
               [&] { file.tensor("q8_1"); });
  expect_error(ErrorKind::kUnsupportedDtype,
               "test.gguf: tensor 'future'" + expected + "unknown (number 4711)",
               [&] { file.tensor("future"); });
  expect_error(ErrorKind::kGgufParse,
               "test.gguf: tensor 'gone': expected one of this name, got 4 others",
               [&] { file.tensor("gone"); });
  EXPECT_EQ(file.weight(device, "fine").byte_len(), 16u);
}

TEST(Gguf, WeightsShareTheFilesMemoryAndKeepIt) {
  const Device device = Device::cpu({.threads = 1}), other = Device::cpu({.threads = 1});
  auto bytes = std::make_shared<const std::vector<std::byte>>(sample_gguf().build());
  const std::weak_ptr<const void> alive = bytes;
  const std::span<const std::byte> data = *bytes;
  Buffer f32, q4_k, elsewhere;
  uint64_t offset = 0;
  {
    const GgufFile file = GgufFile::parse(data, std::move(bytes), "test.gguf");
    f32 = file.weight(device, "f32.weight");
    q4_k = file.weight(device, "q4_k.weight");
    elsewhere = file.weight(other, "f32.weight");
    offset = file.tensor("f32.weight").offset;
    for (const GgufTensor& tensor : file.tensors()) {
      const Buffer weight = file.weight(device, tensor.name);
      EXPECT_EQ(weight.dtype(), tensor.dtype);
      EXPECT_EQ(weight.shape(), tensor.shape);
      EXPECT_EQ(weight.host(), tensor.bytes.data());
      EXPECT_EQ(weight.byte_len(), tensor.bytes.size());
    }
  }
  EXPECT_FALSE(alive.expired());  // the file object is gone, the buffers are not
  EXPECT_EQ(f32.host(), data.data() + offset);
  EXPECT_EQ(f32.storage(), q4_k.storage());
  EXPECT_NE(f32.storage(), elsewhere.storage());
  EXPECT_EQ(f32.device(), device.id());
  EXPECT_EQ(elsewhere.device(), other.id());
  EXPECT_TRUE(f32.storage()->read_only);
  EXPECT_THROW(device.write(f32, std::vector<std::byte>(f32.byte_len())), Error);
  f32 = {}, q4_k = {}, elsewhere = {};
  EXPECT_TRUE(alive.expired());
}

TEST(Gguf, WeightsFromManyThreads) {
  const std::vector<std::byte> bytes = sample_gguf().build();
  const GgufFile file = parse(bytes);
  const Device device = Device::cpu({.threads = 1});
  std::vector<Buffer> got(8);
  std::vector<std::thread> threads;
  threads.reserve(got.size());
  for (Buffer& buffer : got)
    threads.emplace_back([&] { buffer = file.weight(device, "q8_0.weight"); });
  for (std::thread& thread : threads) thread.join();
  for (const Buffer& buffer : got) EXPECT_EQ(buffer.storage(), got[0].storage());
}

TEST(Gguf, RefusesWeightsInMisalignedMemory) {
  const std::vector<std::byte> bytes = sample_gguf().build();
  std::vector<std::byte> shifted(bytes.size() + 1);
  std::copy(bytes.begin(), bytes.end(), shifted.begin() + 1);
  const GgufFile file = GgufFile::parse(std::span(shifted).subspan(1), nullptr, "test.gguf");
  EXPECT_EQ(file.get<float>("n.f32"), 1.5f);  // metadata has no alignment anyway
  expect_error(ErrorKind::kInvalidArgument, "Buffer: memory of f32 must be aligned to 4 bytes",
               [&] { file.weight(Device::cpu({.threads = 1}), "f32.weight"); });
}

TEST(Gguf, OpensFiles) {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / fmt::format("decant_gguf_test_{}", getpid());
  const std::vector<std::byte> bytes = sample_gguf().build();
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  {
    GgufFile moved = GgufFile::open(path.string());
    const GgufFile file = std::move(moved);
    std::filesystem::remove(path);
    EXPECT_EQ(file.name(), path.string());
    file.prefetch();
    const Buffer weight = file.weight(Device::cpu({.threads = 1}), "f32.weight");
    const std::span<const std::byte> want =
        std::span(bytes).subspan(file.tensor("f32.weight").offset, weight.byte_len());
    EXPECT_TRUE(
        std::equal(want.begin(), want.end(), weight.host(), weight.host() + weight.byte_len()));
  }
  try {
    GgufFile::open(path.string());
    ADD_FAILURE() << "a missing file was opened";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kIo);
    EXPECT_EQ(e.what(), path.string() + ": cannot open: No such file or directory");
  }
}

// DECANT_TEST_MODEL: the Gemma 3 270M file that scripts/generate fetches.
TEST(Gguf, RealModel) {
  const char* path = std::getenv("DECANT_TEST_MODEL");
  if (!path || !*path)
    GTEST_SKIP() << "DECANT_TEST_MODEL is not set: the real model's file was NOT read";
  const auto start = std::chrono::steady_clock::now();
  const GgufFile file = GgufFile::open(path);
  const std::chrono::duration<double, std::milli> ms = std::chrono::steady_clock::now() - start;
  RecordProperty("parse_ms", fmt::format("{:.2f}", ms.count()));

  EXPECT_EQ(file.get<std::string_view>("general.architecture"), "gemma3");
  EXPECT_EQ(file.get<uint32_t>("gemma3.block_count"), 18u);
  EXPECT_EQ(file.get<uint32_t>("gemma3.attention.key_length"), 256u);
  EXPECT_EQ(file.get<uint32_t>("gemma3.attention.sliding_window"), 512u);
  EXPECT_NEAR(file.get<float>("gemma3.attention.layer_norm_rms_epsilon"), 1e-6, 1e-12);
  EXPECT_TRUE(file.get<bool>("tokenizer.ggml.add_bos_token"));
  const auto tokens = file.get<GgufArray<std::string_view>>("tokenizer.ggml.tokens");
  EXPECT_EQ(tokens.size(), 262144u);
  EXPECT_EQ(*std::next(tokens.begin(), 2), "<bos>");
  EXPECT_EQ(file.get<GgufArray<float>>("tokenizer.ggml.scores").size(), 262144u);
  EXPECT_EQ(file.get<GgufArray<int32_t>>("tokenizer.ggml.token_type")[2], 3);  // control

  std::map<std::string_view, int> types;
  const Device device = Device::cpu({.threads = 1});
  for (const GgufTensor& tensor : file.tensors()) {
    ++types[tensor.type_name];
    EXPECT_EQ(file.weight(device, tensor.name).host(), tensor.bytes.data());
  }
  EXPECT_EQ(types, (std::map<std::string_view, int>{
                       {"F32", 109}, {"Q4_K", 27}, {"Q5_0", 81}, {"Q6_K", 9}, {"Q8_0", 10}}));
  EXPECT_EQ(file.tensor("token_embd.weight").shape, (Shape{262144, 640}));
  EXPECT_EQ(file.tensor("blk.17.ffn_down.weight").shape, (Shape{640, 2048}));
  EXPECT_EQ(file.find_tensor("blk.18.attn_q.weight"), nullptr);
  EXPECT_EQ(file.find_tensor("output.weight"), nullptr);  // tied with the embedding
}

}  // namespace
}  // namespace decant
