#include "testing/metal_host/kernel_rewrite.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>

namespace decant::metal_host {
namespace {

constexpr std::array<std::pair<std::string_view, const char*>, 13> kAttributes = {{
    {"buffer", "kBuffer"},
    {"threadgroup", "kThreadgroup"},
    {"thread_position_in_grid", "kThreadPositionInGrid"},
    {"threads_per_grid", "kThreadsPerGrid"},
    {"thread_position_in_threadgroup", "kThreadPositionInThreadgroup"},
    {"threads_per_threadgroup", "kThreadsPerThreadgroup"},
    {"threadgroup_position_in_grid", "kThreadgroupPositionInGrid"},
    {"threadgroups_per_grid", "kThreadgroupsPerGrid"},
    {"thread_index_in_threadgroup", "kThreadIndexInThreadgroup"},
    {"thread_index_in_simdgroup", "kThreadIndexInSimdgroup"},
    {"simdgroup_index_in_threadgroup", "kSimdgroupIndexInThreadgroup"},
    {"simdgroups_per_threadgroup", "kSimdgroupsPerThreadgroup"},
    {"threads_per_simdgroup", "kThreadsPerSimdgroup"},
}};

void note_attributes(const Source& source, size_t open, ParamSource& param) {
  for (const Attribute& attribute : source.read_attributes(open)) {
    if (attribute.name == "function_constant") {
      param.condition = attribute.argument;
      continue;
    }
    const auto* found =
        std::find_if(kAttributes.begin(), kAttributes.end(),
                     [&](const auto& known) { return known.first == attribute.name; });
    if (found == kAttributes.end()) {
      if (attribute.name == "maybe_unused") continue;
      fail_at(source.tokens[open],
              fmt::format("the attribute {} is not supported here", attribute.name));
    }
    param.kind = found->second;
    param.index = attribute.argument.empty() ? "0" : attribute.argument;
  }
}

// Returns the last token of the declaration whose type begins at `type`.
size_t rewrite_variable(Source& source, size_t first, size_t type, size_t end, int& number) {
  std::vector<std::pair<size_t, size_t>> declarators;  // the name, one past the extents
  size_t name = end, i = type;
  for (; i < end; ++i) {
    if (source.is(i, "*") || source.is(i, "&")) return i;  // a pointer: an ordinary variable
    if (source.is(i, "=") || source.is(i, "{"))
      fail_at(source.tokens[i], "a threadgroup variable cannot have an initializer");
    if (source.is(i, ",") || source.is(i, ";")) {
      declarators.emplace_back(name, i);
      if (source.is(i, ";")) break;
    } else if (source.is(i, "<")) {
      i = std::min(matching_angle(source.tokens, i), end);
    } else if (source.opens(i)) {
      i = matching(source.tokens, i);
    } else if (source.tokens[i].is_identifier()) {
      name = i;
    }
  }
  if (declarators.empty() || declarators[0].first == end)
    fail_at(source.tokens[first], "cannot read this threadgroup declaration");
  const std::string type_text = source.spell(type, declarators[0].first);
  std::string text;
  for (const auto& [at, past] : declarators) {
    text += fmt::format(
        "typedef {0} metal_host_type_{1}{2}; metal_host_type_{1}& {3} = "
        "::metal_host::threadgroup_variable<metal_host_type_{1}, {1}>(); ",
        type_text, number, source.spell(at + 1, past), source.tokens[at].text);
    ++number;
  }
  source.replace(first, i + 1, text);
  return i;
}

}  // namespace

std::vector<ParamSource> read_params(const Source& source, size_t begin, size_t end) {
  std::vector<ParamSource> params;
  for (size_t i = begin; i < end;) {
    const size_t first = i;
    ParamSource param;
    bool pointer = false, space = false;
    for (; i < end && !source.is(i, ","); ++i) {
      if (source.is_attribute(i)) {
        note_attributes(source, i, param);
        i = matching(source.tokens, i);
      } else if (source.is(i, "<")) {
        i = std::min(matching_angle(source.tokens, i), end);
      } else if (source.opens(i)) {
        i = matching(source.tokens, i);
      } else {
        pointer = pointer || source.is(i, "*") || source.is(i, "&");
        space = space || source.is(i, "device") || source.is(i, "constant") ||
                source.is(i, "threadgroup");
        if (source.tokens[i].is_identifier()) param.name = source.tokens[i].text;
      }
    }
    if (param.kind.empty())
      fail_at(source.tokens[first],
              fmt::format("parameter '{}' has no attribute such as [[buffer(0)]]", param.name));
    if (pointer && !space)
      fail_at(source.tokens[first], fmt::format("parameter '{}' has no address space", param.name));
    params.push_back(std::move(param));
    ++i;
  }
  return params;
}

int rewrite_threadgroup_variables(Source& source, size_t begin, size_t end, int number) {
  size_t after = end;  // one past the declaration rewritten last
  for (size_t i = begin; i < end; ++i) {
    if (!source.is(i, "threadgroup")) continue;
    const size_t before = i - 1;
    const bool aligned = source.is(before, ")");  // alignas(16) threadgroup ...
    if (!aligned && i != after && !source.is(before, "{") && !source.is(before, "}") &&
        !source.is(before, ";") && !source.is(before, "static"))
      continue;
    size_t first = aligned || source.is(before, "static") ? before : i;
    while (aligned && first > begin && !source.is(first, "alignas")) --first;
    i = rewrite_variable(source, first, i + 1, end, number);
    after = i + 1;
  }
  return number;
}

}  // namespace decant::metal_host
