#include "decant/core/kernel_source.h"

#include <algorithm>
#include <set>

#include "decant/core/error.h"

namespace decant {
namespace {

std::string_view trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

// What an #include line names, with its quotes or brackets; empty for another line.
std::string_view included(std::string_view line) {
  line = trim(line);
  if (!line.starts_with('#')) return {};
  line = trim(line.substr(1));
  if (!line.starts_with("include")) return {};
  line = trim(line.substr(std::string_view("include").size()));
  if (line.empty()) return {};
  const size_t end = line.find(line[0] == '<' ? '>' : '"', 1);
  return end == std::string_view::npos ? std::string_view() : line.substr(0, end + 1);
}

struct Flattener {
  std::span<const std::string_view> keep;
  std::set<std::string, std::less<>> seen{};
  std::string out{};

  void add(std::string_view path, std::string_view text) {
    out += fmt::format("#line 1 \"{}\"\n", path);
    for (size_t line = 1; !text.empty(); ++line) {
      const size_t end = std::min(text.find('\n'), text.size());
      const std::string_view current = text.substr(0, end);
      text.remove_prefix(std::min(end + 1, text.size()));
      const std::string_view name = included(current);
      if (name.empty()) {
        out += current;
        out += '\n';
        continue;
      }
      const std::string_view file = name.substr(1, name.size() - 2);
      const bool kept = std::find(keep.begin(), keep.end(), file) != keep.end();
      if (name[0] == '"' && seen.insert(std::string(file)).second) {
        add(file, embedded_source(file));
        out += fmt::format("#line {} \"{}\"\n", line + 1, path);
      } else {
        out += kept ? current : std::string_view();
        out += '\n';
      }
    }
  }
};

}  // namespace

std::string_view embedded_source(std::string_view path) {
  const std::span<const EmbeddedSource> all = embedded_sources();
  const auto found = std::lower_bound(
      all.begin(), all.end(), path,
      [](const EmbeddedSource& source, std::string_view wanted) { return source.path < wanted; });
  if (found == all.end() || found->path != path)
    fail(ErrorKind::kKernelNotFound, "source '{}' is not embedded in the library", path);
  return found->text;
}

std::string flatten_source(std::string_view path, std::span<const std::string_view> keep) {
  if (path.find('\n') != std::string_view::npos) return flatten_source("kernel", path, keep);
  return flatten_source(path, embedded_source(path), keep);
}

std::string flatten_source(std::string_view path, std::string_view text,
                           std::span<const std::string_view> keep) {
  Flattener flattener{.keep = keep};
  flattener.seen.insert(std::string(path));
  flattener.add(path, text);
  return std::move(flattener.out);
}

}  // namespace decant
