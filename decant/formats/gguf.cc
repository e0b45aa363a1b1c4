#include "decant/formats/gguf.h"

#include <algorithm>
#include <mutex>

#include "decant/core/error.h"

namespace decant {

// The whole file as a buffer, once for each device that asked.
struct GgufFile::Wraps {
  std::mutex mutex;
  std::vector<std::pair<Device, Buffer>> made;
};

GgufFile::GgufFile() : wraps_(std::make_unique<Wraps>()) {}
GgufFile::GgufFile(GgufFile&&) noexcept = default;
GgufFile& GgufFile::operator=(GgufFile&&) noexcept = default;
GgufFile::~GgufFile() = default;

GgufFile GgufFile::open(const std::string& path) {
  std::shared_ptr<const MappedFile> mapping = MappedFile::open(path);
  GgufFile file = parse(mapping->bytes(), mapping, path);
  file.mapping_ = std::move(mapping);
  return file;
}

void GgufFile::prefetch() const {
  if (mapping_ && data_start_ < data_.size())
    mapping_->will_need(data_start_, data_.size() - data_start_);
}

const GgufEntry* GgufFile::find(std::string_view key) const {
  const auto it = std::lower_bound(by_key_.begin(), by_key_.end(), key,
                                   [&](size_t i, auto k) { return entries_[i].key < k; });
  return it != by_key_.end() && entries_[*it].key == key ? &entries_[*it] : nullptr;
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  const auto it = std::lower_bound(by_name_.begin(), by_name_.end(), name,
                                   [&](size_t i, auto n) { return tensors_[i].name < n; });
  return it != by_name_.end() && tensors_[*it].name == name ? &tensors_[*it] : nullptr;
}

const GgufTensor& GgufFile::tensor(std::string_view name) const {
  const GgufTensor* found = find_tensor(name);
  if (!found)
    fail(ErrorKind::kGgufParse, "{}: tensor {}: expected one of this name, got {} others", name_,
         gguf_quoted(name), tensors_.size());
  if (!found->dtype)
    fail(ErrorKind::kUnsupportedDtype,
         "{}: tensor {}: expected F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 or Q2_K to Q6_K, "
         "got type {} (number {})",
         name_, gguf_quoted(name), found->type_name, found->type);
  return *found;
}

Buffer GgufFile::weight(const Device& device, std::string_view name) const {
  const GgufTensor& t = tensor(name);
  const std::lock_guard lock(wraps_->mutex);
  for (const auto& [owner, whole] : wraps_->made)
    if (owner == device) return whole.slice(t.offset, *t.dtype, t.shape);
  const Buffer whole = device.wrap(data_, DType::kU8, {data_.size()}, owner_);
  wraps_->made.emplace_back(device, whole);
  return whole.slice(t.offset, *t.dtype, t.shape);
}

void GgufFile::not_needed(const Buffer& weight) const {
  // weight() gives slices of the whole file, so that offsets are the file's.
  if (mapping_) mapping_->not_needed(weight.byte_offset(), weight.byte_len());
}

const GgufEntry& GgufFile::entry(std::string_view key, std::string_view expected) const {
  if (const GgufEntry* found = find(key)) return *found;
  fail(ErrorKind::kGgufParse, "{}: metadata {}: expected {}, got no such key", name_,
       gguf_quoted(key), expected);
}

void GgufFile::wrong_type(const GgufEntry& e, std::string_view expected) const {
  fail(ErrorKind::kGgufParse, "{}: metadata {}: expected {}, got {}", name_, gguf_quoted(e.key),
       expected, e.value.type_name());
}

void GgufFile::does_not_fit(const GgufEntry& e, std::string_view expected) const {
  fail(ErrorKind::kGgufParse, "{}: metadata {}: expected a value that fits {}, got {} {}", name_,
       gguf_quoted(e.key), expected, e.value.type_name(), e.value.to_string());
}

}  // namespace decant
