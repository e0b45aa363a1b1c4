#include "testing/metal_host/run_spec.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "decant/kernels/float16.h"
#include "testing/metal_host/random.h"

namespace decant::metal_host {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

[[noreturn]] void bad(const std::string& message) { throw std::runtime_error(message); }

template <typename T>
void append(std::vector<std::byte>& to, const T& value) {
  const auto* bytes = reinterpret_cast<const std::byte*>(&value);
  to.insert(to.end(), bytes, bytes + sizeof(T));
}

size_t size_of(const std::string& type) {
  static const std::map<std::string, size_t> kSizes = {
      {"bool", 1}, {"u8", 1},  {"i8", 1},  {"u16", 2}, {"i16", 2}, {"f16", 2},
      {"bf16", 2}, {"u32", 4}, {"i32", 4}, {"f32", 4}, {"u64", 8}, {"i64", 8}};
  const auto found = kSizes.find(type);
  if (found == kSizes.end()) bad(fmt::format("unknown type '{}'", type));
  return found->second;
}

void append(std::vector<std::byte>& to, const std::string& type, const Json& value) {
  const bool is_real = type == "f32" || type == "f16" || type == "bf16";
  const double real = value.is_boolean() ? value.get<bool>()
                      : value == "nan"   ? NAN
                      : value == "inf"   ? INFINITY
                      : value == "-inf"  ? -INFINITY
                                         : value.get<double>();
  if (type == "f32") append(to, static_cast<float>(real));
  if (type == "f16") append(to, f16_from_f32(static_cast<float>(real)));
  if (type == "bf16") append(to, bf16_from_f32(static_cast<float>(real)));
  if (is_real) return;
  // Two's complement: the low bytes are the value for every width.
  const int64_t integer = value.is_boolean() ? value.get<bool>() : value.get<int64_t>();
  const size_t size = size_of(type);
  const auto* bytes = reinterpret_cast<const std::byte*>(&integer);
  to.insert(to.end(), bytes, bytes + size);
}

// {"u32": 3}, {"f32": [1, 2]} or a list of them: a struct, member after member.
std::vector<std::byte> read_value(const Json& json) {
  std::vector<std::byte> bytes;
  const auto members = json.is_array() ? json : Json::array({json});
  for (const Json& member : members)
    for (const auto& [type, value] : member.items()) {
      while (bytes.size() % size_of(type) != 0) bytes.push_back(std::byte{0});
      for (const Json& one : value.is_array() ? value : Json::array({value}))
        append(bytes, type, one);
    }
  return bytes;
}

std::vector<std::byte> read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) bad(fmt::format("cannot read {}", path.string()));
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto* bytes = reinterpret_cast<const std::byte*>(text.data());
  return {bytes, bytes + text.size()};
}

// {"type": "f32", "values": [...]} or "count" with "random" (a seed) or "fill", or "file".
BufferSpec read_buffer(const Json& json, const fs::path& folder) {
  BufferSpec buffer{json.value("type", "u8"), {}};
  if (json.contains("file")) {
    buffer.content = read_file(folder / json.at("file").get<std::string>());
  } else if (json.contains("values")) {
    for (const Json& value : json.at("values")) append(buffer.content, buffer.type, value);
  } else {
    const auto count = json.at("count").get<uint64_t>();
    Random random(json.value("random", uint64_t{0}));
    const bool is_real = buffer.type.find('f') != std::string::npos;
    for (uint64_t i = 0; i < count; ++i) {
      if (!json.contains("random"))
        append(buffer.content, buffer.type, json.value("fill", Json(0)));
      else if (is_real)  // uniform in [-1, 1)
        append(buffer.content, buffer.type, Json(random.next() / 2147483648.0 - 1.0));
      else
        append(buffer.content, buffer.type, Json(random.next() & 127));
    }
  }
  return buffer;
}

Size3 read_size(const Json& json) {
  Size3 size;
  if (json.is_number()) return {json.get<uint32_t>(), 1, 1};
  size.x = json.at(0).get<uint32_t>();
  if (json.size() > 1) size.y = json.at(1).get<uint32_t>();
  if (json.size() > 2) size.z = json.at(2).get<uint32_t>();
  return size;
}

DispatchSpec read_dispatch(const Json& json) {
  DispatchSpec dispatch;
  dispatch.kernel = json.at("kernel").get<std::string>();
  const Json constants = json.value("constants", Json::object());
  for (const auto& [key, value] : constants.items()) {
    const bool is_index = key.find_first_not_of("0123456789") == std::string::npos;
    if (is_index)
      dispatch.constants.set(static_cast<uint32_t>(std::stoul(key)),
                             std::span<const std::byte>(read_value(value)));
    else
      dispatch.constants.set(key, std::span<const std::byte>(read_value(value)));
  }
  for (const Json& json_argument : json.at("arguments")) {
    DispatchSpec::Argument argument;
    if (json_argument.is_string()) {
      argument.buffer = json_argument.get<std::string>();
    } else if (json_argument.contains("buffer")) {
      argument.buffer = json_argument.at("buffer").get<std::string>();
      argument.offset = json_argument.value("offset", size_t{0});
    } else if (json_argument.contains("value")) {
      argument.bytes = read_value(json_argument.at("value"));
    }
    dispatch.arguments.push_back(std::move(argument));
  }
  dispatch.threadgroup_bytes = json.value("threadgroup", std::vector<size_t>{});
  dispatch.groups = read_size(json.at("groups"));
  dispatch.threads = read_size(json.at("threads"));
  dispatch.barrier = json.value("barrier", true);
  return dispatch;
}

}  // namespace

RunSpec read_spec(const fs::path& path) {
  const auto text = read_file(path);
  const fs::path folder = path.parent_path();
  try {
    const auto* begin = reinterpret_cast<const char*>(text.data());
    const Json json = Json::parse(begin, begin + text.size(), nullptr, true, true);
    RunSpec spec;
    const auto source = read_file(folder / json.at("source").get<std::string>());
    spec.source.assign(reinterpret_cast<const char*>(source.data()), source.size());
    for (const auto& include : json.value("include_dirs", std::vector<std::string>{}))
      spec.options.include_dirs.push_back(fs::absolute(folder / include).string());
    spec.options.defines = json.value("defines", std::vector<std::string>{});
    for (const auto& [name, buffer] : json.at("buffers").items())
      spec.buffers[name] = read_buffer(buffer, folder);
    for (const Json& dispatch : json.at("dispatches"))
      spec.dispatches.push_back(read_dispatch(dispatch));
    spec.print = json.value("print", std::vector<std::string>{});
    return spec;
  } catch (const Json::exception& error) {
    bad(fmt::format("{}: {}", path.string(), error.what()));
  }
}

std::map<std::string, std::vector<std::byte>> run(const RunSpec& spec, const RunOptions& options) {
  const Library library(spec.source, spec.options);
  std::map<std::string, std::unique_ptr<Memory>> memories;
  for (const auto& [name, buffer] : spec.buffers) {
    auto memory = std::make_unique<Memory>(buffer.content.size(), "buffer '" + name + "'", 16);
    std::copy(buffer.content.begin(), buffer.content.end(), memory->data());
    memories[name] = std::move(memory);
  }
  for (const DispatchSpec& dispatch : spec.dispatches) {
    std::vector<Arg> args;
    for (const DispatchSpec::Argument& argument : dispatch.arguments) {
      if (argument.buffer.empty()) {
        args.push_back(Arg::bytes(argument.bytes));
      } else {
        const auto found = memories.find(argument.buffer);
        if (found == memories.end()) bad(fmt::format("no buffer is called {}", argument.buffer));
        args.push_back(Arg::buffer(*found->second, argument.offset));
      }
    }
    const Kernel kernel = library.kernel(dispatch.kernel, dispatch.constants);
    if (dispatch.barrier) next_interval();
    run_dispatch(kernel.plan(args, dispatch.groups, dispatch.threads, dispatch.threadgroup_bytes),
                 options);
  }
  next_interval();
  std::map<std::string, std::vector<std::byte>> contents;
  for (const auto& [name, memory] : memories)
    contents[name].assign(memory->data(), memory->data() + memory->bytes());
  return contents;
}

std::string format_values(const std::string& type, const std::vector<std::byte>& content,
                          size_t most) {
  std::string text;
  const size_t size = size_of(type);
  const size_t count = content.size() / size;
  for (size_t i = 0; i < std::min(count, most); ++i) {
    int64_t integer = 0;
    std::memcpy(&integer, content.data() + i * size, size);
    if (type[0] == 'i') integer = integer << (64 - 8 * size) >> (64 - 8 * size);
    float real = 0;
    if (type == "f16") real = f32_from_f16(static_cast<uint16_t>(integer));
    const uint32_t bits = static_cast<uint32_t>(type == "bf16" ? integer << 16 : integer);
    if (type == "f32" || type == "bf16") std::memcpy(&real, &bits, sizeof real);
    if (i != 0) text += ' ';
    text += type.find('f') != std::string::npos ? fmt::format("{:.9g}", real)
                                                : fmt::format("{}", integer);
  }
  return text + (count > most ? " ..." : "");
}

}  // namespace decant::metal_host
