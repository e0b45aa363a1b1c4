#include "testing/gguf_builder.h"

#include <algorithm>
#include <random>

namespace decant::testing {
namespace {

void append_bytes(std::vector<std::byte>& to, std::span<const std::byte> bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

void pad(std::vector<std::byte>& to, uint64_t alignment) {
  if (alignment) to.resize((to.size() + alignment - 1) / alignment * alignment);
}

}  // namespace

void append_string(std::vector<std::byte>& to, std::string_view text) {
  append<uint64_t>(to, text.size());
  append_bytes(to, std::as_bytes(std::span(text)));
}

std::vector<std::byte>& GgufBuilder::entry(std::string_view key, GgufType type) {
  append_string(entries_, key);
  append(entries_, static_cast<uint32_t>(type));
  ++num_entries_;
  return entries_;
}

GgufBuilder& GgufBuilder::add_raw(std::string_view key, uint32_t type,
                                  std::span<const std::byte> payload) {
  append_bytes(entry(key, static_cast<GgufType>(type)), payload);
  return *this;
}

GgufBuilder& GgufBuilder::add_tensor(std::string_view name, uint32_t type,
                                     const std::vector<uint64_t>& dims, std::vector<std::byte> data,
                                     std::optional<uint64_t> offset) {
  tensors_.push_back({std::string(name), type, dims, std::move(data), offset});
  return *this;
}

GgufBuilder& GgufBuilder::add_random_tensor(std::string_view name, DType dtype, const Shape& shape,
                                            uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> data(bytes_of(dtype, shape.elements()));
  for (std::byte& b : data) b = static_cast<std::byte>(random() & 0xFF);
  // Exponents of numbers around 1, whatever the other bits are.
  const size_t size = info(dtype).block_bytes;
  const auto set_exponent = [&](unsigned high, unsigned low) {
    for (size_t i = size; i <= data.size(); i += size) {
      data[i - 1] = static_cast<std::byte>(high);
      data[i - 2] = (data[i - 2] & std::byte{0x0F}) | static_cast<std::byte>(low);
    }
  };
  if (dtype == DType::kF32 || dtype == DType::kBF16) set_exponent(0x3F, 0x00);
  if (dtype == DType::kF64) set_exponent(0x3F, 0xE0);
  if (dtype == DType::kF16) set_exponent(0x38, 0x00);

  std::vector<uint64_t> dims(shape.rank());
  for (size_t i = 0; i < dims.size(); ++i) dims[i] = shape[i];
  return add_tensor(name, tensor_type(dtype).number, dims, std::move(data));
}

std::vector<std::byte> GgufBuilder::build() const {
  std::vector<std::byte> file;
  append_bytes(file, std::as_bytes(std::span(magic)));
  append(file, version);
  append<uint64_t>(file, tensor_count.value_or(tensors_.size()));
  append<uint64_t>(file, metadata_count.value_or(num_entries_));
  append_bytes(file, entries_);

  uint64_t offset = 0;
  std::vector<uint64_t> offsets;
  for (const Tensor& tensor : tensors_) {
    if (alignment) offset = (offset + alignment - 1) / alignment * alignment;
    offsets.push_back(tensor.offset.value_or(offset));
    append_string(file, tensor.name);
    append(file, static_cast<uint32_t>(tensor.dims.size()));
    for (size_t i = tensor.dims.size(); i-- > 0;) append(file, tensor.dims[i]);
    append(file, tensor.type);
    append(file, offsets.back());
    offset += tensor.data.size();
  }
  if (tensors_.empty()) return file;
  pad(file, alignment);
  const size_t data_start = file.size();
  for (size_t i = 0; i < tensors_.size(); ++i) {
    // A false offset changes what the file says, not where the data goes.
    if (!tensors_[i].offset) file.resize(std::max<size_t>(file.size(), data_start + offsets[i]));
    append_bytes(file, tensors_[i].data);
  }
  return file;
}

GgufBuilder sample_gguf(uint64_t seed) {
  GgufBuilder b;
  b.add("general.architecture", "sample").add<uint32_t>("general.alignment", 32);
  b.add<uint8_t>("n.u8", 200).add<int8_t>("n.i8", -100);
  b.add<uint16_t>("n.u16", 60000).add<int16_t>("n.i16", -30000);
  b.add<uint32_t>("n.u32", 4'000'000'000).add<int32_t>("n.i32", -2'000'000'000);
  b.add<uint64_t>("n.u64", UINT64_MAX).add<int64_t>("n.i64", INT64_MIN);
  b.add("n.f32", 1.5f).add("n.f64", 2.25).add("n.true", true).add("n.false", false);
  b.add("s.empty", "").add("s.bytes", std::string_view("a\0\n\xff", 4));
  b.add_array<uint8_t>("a.u8", {1, 2, 255}).add_array<int32_t>("a.i32", {-1, 0, 1, 3});
  b.add_array<float>("a.f32", {0.5f, -0.25f}).add_array<double>("a.f64", {0.125});
  b.add_array<uint64_t>("a.empty", {}).add_array<std::string_view>("a.no_strings", {});
  b.add_array<std::string_view>("a.strings", {"<pad>", "", "\xe2\x96\x81the", "\n\n"});
  {
    std::vector<std::byte> bools;
    append(bools, static_cast<uint32_t>(GgufType::kBool));
    append<uint64_t>(bools, 3);
    for (const unsigned v : {1u, 0u, 1u}) bools.push_back(static_cast<std::byte>(v));
    b.add_raw("a.bool", static_cast<uint32_t>(GgufType::kArray), bools);
  }
  for (const DType dtype :
       {DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI8, DType::kI16, DType::kI32,
        DType::kI64, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ8_0,
        DType::kQ2_K, DType::kQ3_K, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K}) {
    const uint64_t columns = info(dtype).block_elems == 1 ? 3 : info(dtype).block_elems;
    b.add_random_tensor(fmt::format("{}.weight", to_string(dtype)), dtype, {2, columns}, seed++);
  }
  return b;
}

}  // namespace decant::testing
