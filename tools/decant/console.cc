#include "tools/decant/console.h"

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <system_error>

#include "decant/core/error.h"

namespace decant::cli {
namespace {

[[noreturn]] void stdout_failed(int error) {
  if (error == EPIPE) throw BrokenPipe{};
  fail(ErrorKind::kIo, "stdout: cannot write: {}", std::generic_category().message(error));
}

bool styled(Stream stream) {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return is_terminal(stream) && !(no_color && *no_color) && term &&
         std::string_view(term) != "dumb";
}

std::string with_style(Stream stream, const char* code, std::string_view text) {
  if (!styled(stream) || text.empty()) return std::string(text);
  return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
}

volatile sig_atomic_t interrupt_seen = 0;

}  // namespace

void put(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) stdout_failed(errno);
}

void flush() {
  if (std::fflush(stdout) != 0) stdout_failed(errno);
}

void print_json(const Json& value, int indent) {
  put(std::string_view(value.dump(indent, ' ', false, Json::error_handler_t::replace)));
  put("\n");
}

void say(std::string_view line) { fmt::print(stderr, "{}\n", line); }

void say_error(std::string_view message) {
  say(with_style(Stream::kStderr, "31", "decant:") + " " + std::string(message));
}

std::string dimmed(Stream stream, std::string_view text) { return with_style(stream, "2", text); }

bool is_terminal(Stream stream) {
  return ::isatty(stream == Stream::kStdout ? STDOUT_FILENO : STDERR_FILENO) == 1;
}

std::string read_text(const std::string& path) {
  std::string text;
  const auto read_all = [&](std::istream& in) {
    text.assign(std::istreambuf_iterator<char>(in), {});
    if (in.bad()) fail(ErrorKind::kIo, "{}: cannot read", path == "-" ? "stdin" : path);
  };
  if (path == "-") {
    read_all(std::cin);
    return text;
  }
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  // Opening a directory succeeds; reading from it does not.
  if (!file || (file.peek(), file.bad()))
    fail(ErrorKind::kIo, "{}: cannot read: {}", path, std::generic_category().message(errno));
  file.clear();
  read_all(file);
  return text;
}

std::string text_or_stdin(const std::string& text) {
  if (text != "-") return text;
  std::string read = read_text("-");
  if (read.ends_with('\n')) read.pop_back();
  return read;
}

void catch_interrupt() {
  struct sigaction action = {};
  action.sa_handler = [](int) { interrupt_seen = 1; };
  action.sa_flags = SA_RESETHAND | SA_RESTART;
  ::sigaction(SIGINT, &action, nullptr);
}

bool interrupted() { return interrupt_seen != 0; }

}  // namespace decant::cli
