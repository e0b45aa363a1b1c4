#include "testing/metal_host/rewrite.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "testing/metal_host/kernel_rewrite.h"
#include "testing/metal_host/kernel_table.h"
#include "testing/metal_host/source.h"
#include "testing/metal_host/tokens.h"

namespace decant::metal_host {
namespace {

// What C++ has and MSL has not.
const std::set<std::string_view> kForbidden = {"double", "goto",         "try",         "catch",
                                               "throw",  "new",          "delete",      "virtual",
                                               "typeid", "dynamic_cast", "thread_local"};

class Rewriter : Source {
 public:
  explicit Rewriter(std::string_view text) : Source{tokenize(text)} {}

  std::string run() {
    for (Token& token : tokens) {
      if (token.kind == TokenKind::kNumber) rewrite_number(token);
      if (token.kind == TokenKind::kDirective && token.text.starts_with("#pragma METAL"))
        token.text.clear();
      if (token.is_identifier() && kForbidden.contains(token.text))
        fail_at(token,
                fmt::format("'{}' does not exist in the Metal shading language", token.text));
    }
    scope(0, tokens.size(), "");
    rewrite_defined();
    erase_attributes();
    return print(tokens) + print(table_);
  }

 private:
  // MSL has no double: an unmarked literal is a float. 1.5h is a half.
  static void rewrite_number(Token& token) {
    std::string& text = token.text;
    const bool hex = text.starts_with("0x") || text.starts_with("0X");
    const bool real = hex ? text.find_first_of("pP") != std::string::npos
                          : text.find_first_of(".eE") != std::string::npos;
    const char last = text.back();
    if (text.ends_with("bf") && !hex) {
      text = "bfloat(" + text.substr(0, text.size() - 2) + "f)";
    } else if (real && (last == 'h' || last == 'H')) {
      text.replace(text.size() - 1, 1, "f16");
    } else if (real && (last == '.' || (last >= '0' && last <= '9'))) {
      text += 'f';
    }
  }

  // --- Declarations of a namespace.

  void scope(size_t begin, size_t end, const std::string& prefix) {
    for (size_t i = begin; i < end;) {
      if (tokens[i].kind == TokenKind::kDirective || is(i, ";")) {
        ++i;
      } else if (is(i, "namespace") || (is(i, "inline") && is(i + 1, "namespace"))) {
        size_t open = i;
        std::string inner = prefix;
        for (; open < end && !is(open, "{") && !is(open, ";"); ++open)
          if (tokens[open].is_identifier() && !is(open, "namespace") && !is(open, "inline"))
            inner += tokens[open].text + "::";
        const size_t close = is(open, "{") ? matching(tokens, open) : open;
        if (is(open, "{")) scope(open + 1, close, inner);
        i = close + 1;
      } else {
        const size_t next = declaration_end(i, end);
        declaration(i, next, prefix);
        i = next;
      }
    }
  }

  size_t skip_template(size_t i) const {
    while (is(i, "template") && is(i + 1, "<")) i = matching_angle(tokens, i + 1) + 1;
    return i;
  }

  // One past the ; or the } of a function's body.
  size_t declaration_end(size_t begin, size_t end) const {
    size_t i = skip_template(begin);
    bool function = false;
    for (; i < end; ++i) {
      if (is(i, ";")) return i + 1;
      if (is(i, "=") || is(i, "struct") || is(i, "class") || is(i, "union") || is(i, "enum"))
        return semicolon(i, end);
      if (is_attribute(i)) {
        i = matching(tokens, i);
      } else if (is(i, "(")) {
        function = true;
        i = matching(tokens, i);
      } else if (is(i, "{")) {
        i = matching(tokens, i);
        return function ? std::min(i + 1, end) : semicolon(i, end);
      }
    }
    return end;
  }
  size_t semicolon(size_t i, size_t end) const {
    for (; i < end && !is(i, ";"); ++i) {
      // A function may return a struct by its elaborated name; then its body ends it.
      if (is(i, "(") && is(matching(tokens, i) + 1, "{"))
        return matching(tokens, matching(tokens, i) + 1) + 1;
      if (opens(i)) i = matching(tokens, i);
    }
    return std::min(i + 1, end);
  }

  void declaration(size_t begin, size_t end, const std::string& prefix) {
    if (is(begin, "template") && is_attribute(begin + 1)) return instantiation(begin, end, prefix);
    const size_t start = skip_template(begin);
    if (is(start, "using") || is(start, "typedef") || is(start, "static_assert")) return;
    // The name stands before the first parenthesis, or else before = [ { or the end.
    std::vector<Attribute> attributes;
    bool kernel = false;
    size_t name = end, i = start;
    for (; i < end && !is(i, "(") && !is(i, "=") && !is(i, "{") && !is(i, ";"); ++i) {
      if (is_attribute(i)) {
        const std::vector<Attribute> more = read_attributes(i);
        attributes.insert(attributes.end(), more.begin(), more.end());
        i = matching(tokens, i);
      } else if (is(i, "kernel")) {
        kernel = true;
        tokens[i].text = "__attribute__((noinline))";
      } else if (is(i, "<")) {
        i = std::min(matching_angle(tokens, i), end - 1);
      } else if (is(i, "[") || is(i, "decltype") || is(i, "alignas") || is(i, "__attribute__")) {
        i = is(i, "[") ? matching(tokens, i) : matching(tokens, i + 1);
      } else if (tokens[i].is_identifier()) {
        name = i;
      }
    }
    if (name == end) return;
    KernelSource source;
    for (size_t j = start; j < end; ++j)
      if (tokens[j].is_identifier() && j != name) source.identifiers.insert(tokens[j].text);
    for (const Attribute& attribute : attributes) {
      if (attribute.name == "function_constant")
        return function_constant(start, name, end, attribute);
      if (attribute.name == "kernel" && is(i, "(")) kernel = true;
      if (attribute.name == "max_total_threads_per_threadgroup")
        source.max_threads = attribute.argument;
    }
    const std::string function = tokens[name].text;
    if (!kernel) {
      table_.mentions[function].merge(source.identifiers);
      return;
    }
    const size_t close = matching(tokens, i);
    if (!is(close + 1, "{")) return;  // a declaration; the definition follows
    source.params = read_params(*this, i + 1, close);
    num_variables_ = rewrite_threadgroup_variables(*this, close + 2, end - 1, num_variables_);
    if (start == begin) {
      std::string host_name = function;
      for (const Attribute& attribute : attributes)
        if (attribute.name == "host_name") host_name = attribute.argument;
      table_.names.push_back({host_name, prefix + function, ""});
    }
    table_.kernels[prefix + function] = std::move(source);
  }

  // template [[host_name("n")]] kernel void f<float, 4>(...);  or  ... decltype(f<float, 4>)
  // f<float, 4>;
  void instantiation(size_t begin, size_t end, const std::string& prefix) {
    KernelName name;
    for (size_t i = begin + 1; i < end; ++i) {
      if (is_attribute(i)) {
        for (const Attribute& attribute : read_attributes(i))
          if (attribute.name == "host_name") name.host_name = attribute.argument;
        i = matching(tokens, i);
      } else if (is(i, "decltype") || is(i, "(")) {
        i = matching(tokens, is(i, "(") ? i : i + 1);
      } else if (tokens[i].is_identifier() && is(i + 1, "<")) {
        const size_t close = matching_angle(tokens, i + 1);
        if (is(close + 1, "(") || is(close + 1, ";")) {
          name.function = prefix + tokens[i].text;
          name.template_arguments = spell(i + 1, close + 1);
        }
        i = close;
      }
    }
    if (name.host_name.empty()) return;  // an ordinary explicit instantiation
    if (name.function.empty())
      fail_at(tokens[begin], "expected template arguments in this instantiation");
    table_.names.push_back(std::move(name));
    replace(begin, end, "");
  }

  void function_constant(size_t start, size_t name, size_t end, const Attribute& attribute) {
    const std::string variable = tokens[name].text;
    size_t type = start;
    while (is(type, "constant") || is(type, "const") || is(type, "static")) ++type;
    const std::string type_text = spell(type, name);
    table_.constants.push_back({attribute.argument, variable, type_text});
    replace(
        start, end,
        fmt::format("static const {0} {1} = ::metal_host::function_constant<{0}>({2}, \"{1}\"); "
                    "static const bool metal_host_defined_{1} = "
                    "::metal_host_function_constant({2}, \"{1}\") != nullptr;",
                    type_text, variable, attribute.argument));
  }

  void rewrite_defined() {
    for (size_t i = 0; i + 3 < tokens.size(); ++i)
      if (is(i, "is_function_constant_defined") && is(i + 1, "(")) {
        table_.optional_constants.insert(tokens[i + 2].text);
        replace(i, i + 4, "metal_host_defined_" + tokens[i + 2].text);
      }
  }

  KernelTable table_;
  int num_variables_ = 0;
};

// Swizzles of n components that the source uses: .xyz reads like a member, so it is one.
std::string swizzles(const std::vector<Token>& tokens) {
  std::set<std::string> used;
  for (size_t i = 1; i < tokens.size(); ++i) {
    const std::string& name = tokens[i].text;
    if (!tokens[i - 1].is(".") && !tokens[i - 1].is("->")) continue;
    if (name.size() < 2 || name.size() > 4) continue;
    if (name.find_first_not_of("xyzw") == std::string::npos ||
        name.find_first_not_of("rgba") == std::string::npos)
      used.insert(name);
  }
  std::string text;
  for (size_t n = 2; n <= 4; ++n) {
    text += fmt::format("#define METAL_HOST_SWIZZLES_{}", n);
    for (const std::string& name : used) {
      std::string indices;
      size_t most = 0;
      for (const char c : name) {
        const size_t xyzw = std::string_view("xyzw").find(c);
        const size_t index =
            xyzw != std::string_view::npos ? xyzw : std::string_view("rgba").find(c);
        most = std::max(most, index);
        indices += fmt::format(", {}", index);
      }
      if (most < n)
        text += fmt::format(" swizzle<vec<T, {}>, {}{}> {};", name.size(), n, indices, name);
    }
    text += '\n';
  }
  return text;
}

}  // namespace

std::string rewrite(std::string_view preprocessed) {
  const std::string prelude = swizzles(tokenize(preprocessed));
  return prelude + "#include \"entry.h\"\n" + Rewriter(preprocessed).run();
}

}  // namespace decant::metal_host
