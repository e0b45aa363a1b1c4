// libFuzzer target: parses the input, then uses everything that an accepted file offers. The only
// way out of a bad file is an Error of kind GgufParse, or UnsupportedDtype for a tensor's use.
#include <cstdint>
#include <cstdlib>

#include "decant/core/error.h"
#include "decant/formats/gguf.h"

namespace decant {
namespace {

void check(bool ok) {
  if (!ok) std::abort();
}

// What the walks add up, so that no read is optimised away.
uint64_t sum = 0;

template <typename T>
void use(const T& value) {
  if constexpr (std::is_arithmetic_v<T>)
    sum += value != T{};
  else
    for (const char c : value) sum += static_cast<unsigned char>(c);
}

// Returns whether the value could be had as T.
template <typename T>
bool get(const GgufFile& file, std::string_view key) {
  try {
    use(file.get<T>(key));
    return true;
  } catch (const Error& e) {
    check(e.kind() == ErrorKind::kGgufParse);
    return false;
  }
}

template <typename E>
bool get_array(const GgufFile& file, std::string_view key) {
  try {
    const auto array = file.get<GgufArray<E>>(key);
    size_t count = 0;
    for (const E element : array) {
      use(element);
      ++count;
    }
    check(count == array.size());
    return true;
  } catch (const Error& e) {
    check(e.kind() == ErrorKind::kGgufParse);
    return false;
  }
}

template <typename... T>
int get_each(const GgufFile& file, std::string_view key) {
  return (int{get<T>(file, key)} + ...);
}
template <typename... E>
int get_each_array(const GgufFile& file, std::string_view key) {
  return (int{get_array<E>(file, key)} + ...);
}

void walk(const GgufFile& file, const Device& device) {
  for (const GgufEntry& entry : file.metadata()) {
    check(file.find(entry.key) == &entry);
    use(entry.value.to_string());
    use(entry.value.type_name());
    const int scalars =
        get_each<bool, uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, uint64_t, int64_t,
                 float, double, std::string_view>(file, entry.key);
    const int arrays =
        get_each_array<bool, uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, uint64_t,
                       int64_t, float, double, std::string_view>(file, entry.key);
    check(entry.value.type() == GgufType::kArray ? scalars == 0 && arrays == 1
                                                 : scalars > 0 && arrays == 0);
  }
  for (const GgufTensor& tensor : file.tensors()) {
    check(file.find_tensor(tensor.name) == &tensor);
    if (!tensor.bytes.empty())
      sum += std::to_integer<uint64_t>(tensor.bytes.front()) +
             std::to_integer<uint64_t>(tensor.bytes.back());
    try {
      const Buffer weight = file.weight(device, tensor.name);
      check(weight.host() == tensor.bytes.data() && weight.byte_len() == tensor.bytes.size());
    } catch (const Error& e) {
      check(e.kind() == ErrorKind::kUnsupportedDtype && !tensor.dtype);
    }
  }
}

}  // namespace
}  // namespace decant

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace decant;
  static const Device device = Device::cpu({.threads = 1});
  try {
    walk(GgufFile::parse(std::as_bytes(std::span(data, size)), nullptr, "fuzz"), device);
  } catch (const Error& e) {
    check(e.kind() == ErrorKind::kGgufParse);
  }
  return 0;
}
