// What the command line says and hears: results on stdout, everything else on stderr.
#ifndef DECANT_TOOLS_DECANT_CONSOLE_H_
#define DECANT_TOOLS_DECANT_CONSOLE_H_

#include <fmt/core.h>

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace decant::cli {

using Json = nlohmann::ordered_json;  // keeps the order in which fields were added

enum ExitCode : int {
  kSuccess = 0,
  kFailure = 1,        // decant::Error
  kUsage = 2,          // a command line that cannot be understood
  kInterrupted = 130,  // as shells report a program that Ctrl-C ended
  kBrokenPipe = 141,   // and one whose reader went away
};

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
// Nobody reads stdout any more.
struct BrokenPipe {};

// --- stdout. Throws BrokenPipe, or Error if it cannot be written (a full disk).
void put(std::string_view text);
template <typename... Args>
void put(fmt::format_string<Args...> format, Args&&... args) {
  put(std::string_view(fmt::format(format, std::forward<Args>(args)...)));
}
void flush();
void print_json(const Json& value, int indent = 2);  // bytes that are no UTF-8 become U+FFFD

// --- stderr
void say(std::string_view line);
void say_error(std::string_view message);  // "decant: <message>"

// --- Styles: SGR codes on a terminal, nothing elsewhere or when NO_COLOR is set (no-color.org).
enum class Stream { kStdout, kStderr };
std::string dimmed(Stream stream, std::string_view text);
bool is_terminal(Stream stream);

// --- Input
// The whole file; "-" is stdin. Throws Io.
std::string read_text(const std::string& path);
// `text`, or if that is "-", stdin without one newline at its end, which `echo` adds.
std::string text_or_stdin(const std::string& text);

// --- Ctrl-C. From this call on the first one is only remembered; the second ends the process.
void catch_interrupt();
bool interrupted();

}  // namespace decant::cli

#endif  // DECANT_TOOLS_DECANT_CONSOLE_H_
