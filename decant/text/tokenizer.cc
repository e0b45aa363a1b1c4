#include "decant/text/tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <functional>
#include <optional>

#include "decant/core/error.h"
#include "decant/text/protobuf_writer.h"

namespace decant {
namespace {

// What SentencePiece writes for a space (U+2581).
constexpr std::string_view kEscapedSpace = "\xE2\x96\x81";

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (size_t at; (at = text.find(from)) != std::string_view::npos;) {
    out.append(text.substr(0, at)).append(to);
    text.remove_prefix(at + from.size());
  }
  return out.append(text);
}

// The value of "<0x0A>".
std::optional<uint8_t> byte_value(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece.back() != '>') return {};
  unsigned value = 0;
  const auto [end, error] = std::from_chars(&piece[3], &piece[5], value, 16);
  if (error != std::errc() || end != &piece[5]) return {};
  return static_cast<uint8_t>(value);
}

void validate(const TokenizerModel& model) {
  const size_t n = model.pieces.size();
  require(n > 0 && n <= INT32_MAX, "tokenizer: pieces: expected 1 to 2^31-1, got {}", n);
  require(model.scores.size() == n, "tokenizer: scores: expected {} as there are pieces, got {}", n,
          model.scores.size());
  require(model.types.size() == n, "tokenizer: types: expected {} as there are pieces, got {}", n,
          model.types.size());
  const auto check_id = [&](const char* name, int32_t id) {
    require(id >= 0 && static_cast<size_t>(id) < n, "tokenizer: {}: expected 0 to {}, got {}", name,
            n - 1, id);
  };
  check_id("bos", model.bos);
  check_id("eos", model.eos);
  check_id("unk", model.unk);
  if (model.end_of_turn != -1) check_id("end_of_turn", model.end_of_turn);

  std::array<bool, 256> byte_seen{};
  size_t bytes = 0;
  for (size_t id = 0; id < n; ++id) {
    const std::string_view piece = model.pieces[id];
    require(!piece.empty(), "tokenizer: piece {} is empty", id);
    require(piece.find('\0') == std::string_view::npos, "tokenizer: piece {} contains a NUL", id);
    require(std::isfinite(model.scores[id]),
            "tokenizer: score {}: expected a finite number, got {}", id, model.scores[id]);
    require(model.types[id] >= 1 && model.types[id] <= 6,
            "tokenizer: type {}: expected 1 to 6, got {}", id, model.types[id]);
    if (model.types[id] != static_cast<int32_t>(TokenType::kByte)) continue;
    const std::optional<uint8_t> value = byte_value(piece);
    require(value.has_value() && !byte_seen[*value],
            "tokenizer: piece {}: expected a byte like <0x0A> not seen before, got '{}'", id,
            piece);
    byte_seen[*value] = true;
    ++bytes;
  }
  require(bytes == 0 || bytes == 256, "tokenizer: expected all 256 byte pieces or none, got {}",
          bytes);
}

// A ModelProto; field numbers from SentencePiece's sentencepiece_model.proto.
std::string model_proto(const TokenizerModel& model) {
  ProtobufWriter proto, message;
  proto.reserve(model.pieces.size() * 24);
  bool byte_fallback = false;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    auto type = static_cast<TokenType>(model.types[id]);
    // SentencePiece wants exactly one unknown piece; files mark it as control.
    if (static_cast<int32_t>(id) == model.unk)
      type = TokenType::kUnknown;
    else if (type == TokenType::kUnknown)
      type = TokenType::kControl;
    byte_fallback |= type == TokenType::kByte;

    message.clear();
    // GGUF stores user-defined pieces with plain spaces, but SentencePiece matches them in the
    // escaped text.
    if (type == TokenType::kUserDefined && model.pieces[id].find(' ') != std::string_view::npos)
      message.add_bytes(1, replace_all(model.pieces[id], " ", kEscapedSpace));
    else
      message.add_bytes(1, model.pieces[id]);
    message.add_float(2, model.scores[id]);
    message.add_varint(3, static_cast<uint64_t>(type));
    proto.add_bytes(1, message.bytes());  // pieces
  }

  message.clear();
  constexpr uint64_t kBpe = 2;
  message.add_varint(3, kBpe);          // model_type
  message.add_bool(35, byte_fallback);  // byte_fallback
  proto.add_bytes(2, message.bytes());  // trainer_spec

  message.clear();
  message.add_bytes(1, "identity");     // name
  message.add_bool(3, false);           // add_dummy_prefix
  message.add_bool(4, false);           // remove_extra_whitespaces
  message.add_bool(5, true);            // escape_whitespaces
  proto.add_bytes(3, message.bytes());  // normalizer_spec
  return proto.bytes();
}

}  // namespace

struct Tokenizer::Impl {
  sentencepiece::SentencePieceProcessor processor;
  std::vector<TokenType> types;
  int32_t bos, eos, unk, end_of_turn;
  bool add_bos;
  // To find control pieces in a text: the bytes that they begin with, their lengths, descending.
  std::array<bool, 256> control_begin{};
  std::vector<size_t> control_lengths;

  // The longest control piece at the beginning of `text`, or -1.
  int32_t control_at(std::string_view text) const {
    if (!control_begin[static_cast<uint8_t>(text[0])]) return -1;
    for (const size_t length : control_lengths) {
      if (length > text.size()) continue;
      const std::string_view candidate = text.substr(0, length);
      const int32_t id = processor.PieceToId(candidate);
      // What SentencePiece does not know is the unknown piece to it.
      if (types[static_cast<size_t>(id)] == TokenType::kControl &&
          (id != unk || candidate == processor.IdToPiece(unk)))
        return id;
    }
    return -1;
  }

  void append_encoded(std::string_view text, std::vector<int32_t>& ids) const {
    if (text.empty()) return;
    std::vector<int> part;
    const sentencepiece::util::Status status = processor.Encode(text, &part);
    if (!status.ok())
      fail(ErrorKind::kInvalidArgument, "tokenizer: text: {}", status.error_message());
    ids.insert(ids.end(), part.begin(), part.end());
  }
};

Tokenizer::Tokenizer(const TokenizerModel& model) {
  validate(model);
  auto impl = std::make_unique<Impl>();
  impl->bos = model.bos;
  impl->eos = model.eos;
  impl->unk = model.unk;
  impl->end_of_turn = model.end_of_turn;
  impl->add_bos = model.add_bos;
  impl->types.reserve(model.types.size());
  for (size_t id = 0; id < model.types.size(); ++id) {
    // The unknown piece is typed unknown or control; both mean the same to a text.
    const TokenType type = model.types[id] == static_cast<int32_t>(TokenType::kUnknown)
                               ? TokenType::kControl
                               : static_cast<TokenType>(model.types[id]);
    impl->types.push_back(type);
    if (type != TokenType::kControl) continue;
    impl->control_begin[static_cast<uint8_t>(model.pieces[id][0])] = true;
    impl->control_lengths.push_back(model.pieces[id].size());
  }
  std::vector<size_t>& lengths = impl->control_lengths;
  std::sort(lengths.begin(), lengths.end(), std::greater<>());
  lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());

  const sentencepiece::util::Status status =
      impl->processor.LoadFromSerializedProto(model_proto(model));
  if (!status.ok())
    fail(ErrorKind::kInvalidArgument, "tokenizer: SentencePiece refuses the vocabulary: {}",
         status.error_message());
  impl_ = std::move(impl);
}

Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

std::vector<int32_t> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  require(text.size() <= kMaxTextBytes, "tokenizer: text: expected at most {} bytes, got {}",
          kMaxTextBytes, text.size());
  const size_t invalid = find_invalid_utf8(text);
  require(invalid == std::string_view::npos, "tokenizer: text: invalid UTF-8 at byte {}", invalid);

  std::vector<int32_t> ids;
  if (options.add_bos && impl_->add_bos) ids.push_back(impl_->bos);
  size_t begin = 0;  // of the text since the last control piece
  for (size_t i = 0; options.parse_special && i < text.size();) {
    const int32_t control = impl_->control_at(text.substr(i));
    if (control < 0) {
      ++i;
      continue;
    }
    impl_->append_encoded(text.substr(begin, i - begin), ids);
    ids.push_back(control);
    i += piece(control).size();
    begin = i;
  }
  impl_->append_encoded(text.substr(begin), ids);
  return ids;
}

void Tokenizer::append_bytes(int32_t id, bool with_control, std::string& out) const {
  std::string_view text = piece(id);
  switch (type(id)) {
    case TokenType::kUnknown:
    case TokenType::kControl:
      if (with_control) out += text;
      return;
    case TokenType::kByte:
      out += static_cast<char>(*byte_value(text));
      return;
    case TokenType::kNormal:
    case TokenType::kUserDefined:
    case TokenType::kUnused:
      break;
  }
  for (size_t at; (at = text.find(kEscapedSpace)) != std::string_view::npos;) {
    out.append(text.substr(0, at)) += ' ';
    text.remove_prefix(at + kEscapedSpace.size());
  }
  out += text;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool with_control) const {
  std::string bytes, text;
  for (const int32_t id : ids) append_bytes(id, with_control, bytes);
  Utf8Stream stream;
  stream.push(bytes, text);
  stream.flush(text);
  return text;
}

std::string_view Tokenizer::piece(int32_t id) const {
  require(id >= 0 && id < vocab_size(), "tokenizer: id: expected 0 to {}, got {}", vocab_size() - 1,
          id);
  return impl_->processor.IdToPiece(id);
}

TokenType Tokenizer::type(int32_t id) const {
  require(id >= 0 && id < vocab_size(), "tokenizer: id: expected 0 to {}, got {}", vocab_size() - 1,
          id);
  return impl_->types[static_cast<size_t>(id)];
}

int32_t Tokenizer::vocab_size() const { return static_cast<int32_t>(impl_->types.size()); }
int32_t Tokenizer::bos() const { return impl_->bos; }
int32_t Tokenizer::eos() const { return impl_->eos; }
int32_t Tokenizer::end_of_turn() const { return impl_->end_of_turn; }

std::string_view Detokenizer::push(int32_t id) {
  bytes_.clear();
  text_.clear();
  tokenizer_->append_bytes(id, with_control_, bytes_);
  stream_.push(bytes_, text_);
  return text_;
}

std::string_view Detokenizer::flush() {
  text_.clear();
  stream_.flush(text_);
  return text_;
}

std::string chat_prompt(std::string_view prompt) {
  return fmt::format("<start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n", prompt);
}

}  // namespace decant
