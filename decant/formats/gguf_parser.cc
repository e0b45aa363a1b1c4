#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <numeric>

#include "decant/core/error.h"
#include "decant/formats/gguf.h"

namespace decant {

static_assert(std::endian::native == std::endian::little, "values are copied out as they lie");

namespace {

constexpr uint64_t kMaxKeyBytes = 65535;
// What the smallest possible item occupies. A count is believed only if so many items fit in the
// rest of the file; nothing is allocated before.
constexpr uint64_t kMinEntryBytes = 8 + 1 + 4 + 1;  // length, key, type, value
constexpr uint64_t kMinTensorBytes =
    8 + 1 + 4 + 8 + 4 + 8;  // length, name, rank, dim, type, offset

}  // namespace

// One pass over the bytes. `at_` never passes the end: take() is the only function that advances
// it.
class GgufParser {
 public:
  GgufParser(std::span<const std::byte> data, std::string name) : data_(data) {
    file_.data_ = data;
    file_.name_ = std::move(name);
  }

  GgufFile run() {
    header();
    metadata();
    alignment();
    tensor_infos();
    place_tensors();
    return std::move(file_);
  }

 private:
  // What is being read, for messages; formatted only when one is thrown.
  struct Subject {
    std::string_view kind = "header";  // "header", "metadata", "tensor"
    uint64_t index = 0;
    std::string_view name;
  };

  template <typename... Args>
  [[noreturn]] void bad(uint64_t offset, fmt::format_string<Args...> format, Args&&... args) const {
    std::string subject(subject_.kind);
    if (subject_.kind != "header") subject += fmt::format(" {}", subject_.index);
    if (!subject_.name.empty()) subject += ' ' + gguf_quoted(subject_.name);
    fail(ErrorKind::kGgufParse, "{}: byte {}: {}: {}", file_.name_, offset, subject,
         fmt::format(format, std::forward<Args>(args)...));
  }

  uint64_t left() const { return data_.size() - at_; }

  std::span<const std::byte> take(uint64_t bytes, std::string_view what) {
    if (bytes > left())
      bad(at_, "{}: expected {} bytes, got {} before the end of the file", what, bytes, left());
    const std::span<const std::byte> taken = data_.subspan(at_, bytes);
    at_ += bytes;
    return taken;
  }

  template <typename T>
  T number(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
    return value;
  }

  std::span<const std::byte> string(std::string_view what) {
    const auto length = number<uint64_t>(what);
    return take(length, what);
  }

  std::string_view identifier(std::string_view what) {
    const uint64_t start = at_;
    const std::span<const std::byte> bytes = string(what);
    if (bytes.empty() || bytes.size() > kMaxKeyBytes)
      bad(start, "{}: expected 1 to {} bytes, got {}", what, kMaxKeyBytes, bytes.size());
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  void header() {
    if (data_.empty()) bad(0, "magic: expected 'GGUF', got an empty file");
    const std::span<const std::byte> magic = take(4, "magic");
    if (std::memcmp(magic.data(), "GGUF", 4) != 0)
      bad(0, "magic: expected 'GGUF', got {}",
          gguf_quoted({reinterpret_cast<const char*>(magic.data()), magic.size()}));
    const uint64_t version_at = at_;
    file_.version_ = number<uint32_t>("version");
    if (file_.version_ != 2 && file_.version_ != 3) {
      // A big-endian writer's small number has its one byte at the other end.
      const bool swapped = file_.version_ != 0 && (file_.version_ & 0xFFFF) == 0;
      bad(version_at, "version: expected 2 or 3, got {}{}", file_.version_,
          swapped ? " (a big-endian file? those are not supported)" : "");
    }
    const uint64_t tensors_at = at_;
    num_tensors_ = number<uint64_t>("tensor count");
    const uint64_t entries_at = at_;
    num_entries_ = number<uint64_t>("metadata count");
    check_count(tensors_at, "tensor count", num_tensors_, kMinTensorBytes);
    check_count(entries_at, "metadata count", num_entries_, kMinEntryBytes);
  }

  void check_count(uint64_t offset, std::string_view what, uint64_t count, uint64_t min_bytes) {
    if (count > left() / min_bytes)
      bad(offset, "{}: expected at most the {} that fit in the file, got {}", what,
          left() / min_bytes, count);
  }

  GgufType value_type() {
    const uint64_t offset = at_;
    const auto type = number<uint32_t>("value type");
    if (type >= kNumGgufTypes)
      bad(offset, "value type: expected 0 to {}, got {}", kNumGgufTypes - 1, type);
    return static_cast<GgufType>(type);
  }

  void check_bools(std::span<const std::byte> values) const {
    for (const std::byte& value : values)
      if (value > std::byte{1})
        bad(static_cast<uint64_t>(&value - data_.data()), "bool: expected 0 or 1, got {}",
            static_cast<int>(value));
  }

  std::span<const std::byte> scalar(GgufType type) {
    const std::span<const std::byte> bytes = take(fixed_bytes(type), "value");
    if (type == GgufType::kBool) check_bools(bytes);
    return bytes;
  }

  GgufValue array() {
    const uint64_t type_at = at_;
    const GgufType type = value_type();
    if (type == GgufType::kArray)
      bad(type_at, "array: expected elements that are no arrays, got a nested array");
    const uint64_t count_at = at_;
    const auto count = number<uint64_t>("array length");
    const bool strings = type == GgufType::kString;
    check_count(count_at, "array length", count, strings ? 8 : fixed_bytes(type));

    const uint64_t start = at_;
    if (strings)
      for (uint64_t i = 0; i < count; ++i) string("string of an array");
    else
      take(count * fixed_bytes(type), "array");
    const std::span<const std::byte> elements = data_.subspan(start, at_ - start);
    if (type == GgufType::kBool) check_bools(elements);
    return GgufValue(type, count, elements);
  }

  GgufValue value() {
    const GgufType type = value_type();
    if (type == GgufType::kArray) return array();
    if (type == GgufType::kString) return GgufValue(type, string("string"));
    return GgufValue(type, scalar(type));
  }

  void metadata() {
    file_.entries_.reserve(num_entries_);
    for (uint64_t i = 0; i < num_entries_; ++i) {
      subject_ = {"metadata", i, {}};
      const std::string_view key = identifier("key");
      subject_.name = key;
      file_.entries_.push_back({key, value()});
    }
    sort_unique(
        file_.by_key_, file_.entries_.size(), "metadata",
        [this](size_t i) { return file_.entries_[i].key; }, "key");
  }

  // Fills `sorted` with the positions 0 to count-1 in the order of their names.
  template <typename NameOf>
  void sort_unique(std::vector<size_t>& sorted, size_t count, std::string_view kind, NameOf name_of,
                   std::string_view what) {
    sorted.resize(count);
    std::iota(sorted.begin(), sorted.end(), size_t{0});
    std::sort(sorted.begin(), sorted.end(), [&](size_t a, size_t b) {
      const int order = name_of(a).compare(name_of(b));
      return order != 0 ? order < 0 : a < b;
    });
    for (size_t i = 1; i < count; ++i) {
      const std::string_view name = name_of(sorted[i]);
      if (name != name_of(sorted[i - 1])) continue;
      subject_ = {kind, sorted[i], name};
      bad(static_cast<uint64_t>(reinterpret_cast<const std::byte*>(name.data()) - data_.data()),
          "{}: expected each once, got it a second time after number {}", what, sorted[i - 1]);
    }
  }

  void alignment() {
    constexpr std::string_view kKey = "general.alignment";
    if (const GgufEntry* entry = file_.find(kKey)) {
      file_.alignment_ = file_.get<uint32_t>(kKey);
      // The specification asks for a multiple of 8; ggml's reader for a power of two.
      if (file_.alignment_ % 8 != 0 || !std::has_single_bit(file_.alignment_)) {
        subject_ = {"metadata", static_cast<uint64_t>(entry - file_.entries_.data()), kKey};
        bad(static_cast<uint64_t>(entry->value.bytes().data() - data_.data()),
            "expected a power of two from 8 on, got {}", file_.alignment_);
      }
    }
  }

  void tensor_infos() {
    check_count(at_, "tensor count", num_tensors_, kMinTensorBytes);
    file_.tensors_.reserve(num_tensors_);
    for (uint64_t i = 0; i < num_tensors_; ++i) {
      subject_ = {"tensor", i, {}};
      file_.tensors_.push_back(tensor_info());
    }
    sort_unique(
        file_.by_name_, file_.tensors_.size(), "tensor",
        [this](size_t i) { return file_.tensors_[i].name; }, "name");
  }

  // Everything but the place in the file: `offset` still counts from the start of the data.
  GgufTensor tensor_info() {
    GgufTensor tensor{};
    tensor.name = identifier("name");
    subject_.name = tensor.name;

    const uint64_t rank_at = at_;
    const auto rank = number<uint32_t>("number of dimensions");
    if (rank < 1 || rank > Shape::kMaxRank)
      bad(rank_at, "number of dimensions: expected 1 to {}, got {}", Shape::kMaxRank, rank);
    const uint64_t dims_at = at_;
    std::array<uint64_t, Shape::kMaxRank> dims{};  // outermost first
    uint64_t elements = 1;
    for (uint32_t i = 0; i < rank; ++i) {
      const uint64_t dim_at = at_;
      const uint64_t dim = dims[rank - 1 - i] = number<uint64_t>("dimension");
      if (dim == 0) bad(dim_at, "dimension {}: expected at least 1, got 0", i);
      if (__builtin_mul_overflow(elements, dim, &elements))
        bad(dims_at, "dimensions: expected a product below 2^64, got more");
    }
    tensor.shape = Shape(std::span(dims.data(), rank));

    const uint64_t type_at = at_;
    tensor.type = number<uint32_t>("type");
    const GgufTensorType* type = find_tensor_type(tensor.type);
    tensor.type_name = type ? type->name : "unknown";
    if (type) {
      tensor.dtype = type->dtype;
      const uint64_t row = dims[rank - 1];
      if (row % type->block_elems != 0)
        bad(type_at, "row length: expected a multiple of {}'s {} elements, got {}", type->name,
            type->block_elems, row);
      uint64_t bytes = 0;
      if (__builtin_mul_overflow(elements / type->block_elems, type->block_bytes, &bytes) ||
          bytes > data_.size())
        bad(dims_at, "size: expected at most the file's {} bytes, got {} blocks of {}",
            data_.size(), elements / type->block_elems, type->block_bytes);
      // Only the size counts for now; place_tensors moves it to where it belongs.
      tensor.bytes = data_.first(bytes);
    }
    const uint64_t offset_at = at_;
    tensor.offset = number<uint64_t>("offset");
    if (tensor.offset % file_.alignment_ != 0)
      bad(offset_at, "offset: expected a multiple of the alignment {}, got {}", file_.alignment_,
          tensor.offset);
    return tensor;
  }

  void place_tensors() {
    if (file_.tensors_.empty()) {
      file_.data_start_ = data_.size();
      return;
    }
    const uint64_t padding = (file_.alignment_ - at_ % file_.alignment_) % file_.alignment_;
    subject_ = {"header", 0, {}};
    take(padding, "padding before the tensors");
    file_.data_start_ = at_;

    for (size_t i = 0; i < file_.tensors_.size(); ++i) {
      GgufTensor& tensor = file_.tensors_[i];
      // A tensor of unknown type has at least one byte.
      const uint64_t bytes = std::max<uint64_t>(tensor.bytes.size(), 1);
      if (tensor.offset > left() || bytes > left() - tensor.offset) {
        subject_ = {"tensor", i, tensor.name};
        bad(at_, "data: expected {} bytes at offset {} from here, got {} to the end of the file",
            bytes, tensor.offset, left());
      }
      tensor.offset += at_;
      tensor.bytes = data_.subspan(tensor.offset, tensor.bytes.size());
    }

    std::vector<size_t> by_offset(file_.tensors_.size());
    std::iota(by_offset.begin(), by_offset.end(), size_t{0});
    std::sort(by_offset.begin(), by_offset.end(), [&](size_t a, size_t b) {
      return std::pair(file_.tensors_[a].offset, a) < std::pair(file_.tensors_[b].offset, b);
    });
    for (size_t i = 1; i < by_offset.size(); ++i) {
      const GgufTensor& before = file_.tensors_[by_offset[i - 1]];
      const GgufTensor& tensor = file_.tensors_[by_offset[i]];
      const uint64_t end = before.offset + std::max<uint64_t>(before.bytes.size(), 1);
      if (end <= tensor.offset) continue;
      subject_ = {"tensor", by_offset[i], tensor.name};
      bad(tensor.offset,
          "data: expected a place of its own, got an overlap with {} (bytes {} to {})",
          gguf_quoted(before.name), before.offset, end);
    }
  }

  std::span<const std::byte> data_;
  uint64_t at_ = 0;
  uint64_t num_tensors_ = 0, num_entries_ = 0;
  Subject subject_;
  GgufFile file_;
};

GgufFile GgufFile::parse(std::span<const std::byte> data, std::shared_ptr<const void> owner,
                         std::string name) {
  GgufFile file = GgufParser(data, std::move(name)).run();
  file.owner_ = std::move(owner);
  return file;
}

}  // namespace decant
