// Writes the protobuf wire format, as far as a SentencePiece model needs it. Debian ships neither
// the model's .proto nor its generated header, and a few fields do not need a schema compiler.
// Format: protobuf.dev/programming-guides/encoding.
#ifndef DECANT_TEXT_PROTOBUF_WRITER_H_
#define DECANT_TEXT_PROTOBUF_WRITER_H_

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

namespace decant {

// Appends fields to one message.
class ProtobufWriter {
 public:
  void add_varint(uint32_t field, uint64_t value) {
    put_tag(field, 0);
    put_varint(value);
  }
  void add_bool(uint32_t field, bool value) { add_varint(field, value ? 1 : 0); }
  void add_float(uint32_t field, float value) {
    put_tag(field, 5);
    const auto bits = std::bit_cast<uint32_t>(value);
    for (int shift = 0; shift < 32; shift += 8) out_.push_back(static_cast<char>(bits >> shift));
  }
  // A string, bytes, or a nested message.
  void add_bytes(uint32_t field, std::string_view value) {
    put_tag(field, 2);
    put_varint(value.size());
    out_.append(value);
  }

  const std::string& bytes() const { return out_; }
  void reserve(size_t bytes) { out_.reserve(bytes); }
  void clear() { out_.clear(); }

 private:
  void put_tag(uint32_t field, uint32_t wire_type) { put_varint(uint64_t{field} << 3 | wire_type); }
  void put_varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) out_.push_back(static_cast<char>(value | 0x80));
    out_.push_back(static_cast<char>(value));
  }

  std::string out_;
};

}  // namespace decant

#endif  // DECANT_TEXT_PROTOBUF_WRITER_H_
