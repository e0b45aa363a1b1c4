#include "decant/formats/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "decant/core/error.h"

namespace decant {
namespace {

class MappedFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "decant_XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string write(const char* name, std::string_view content) const {
    const std::filesystem::path path = directory_ / name;
    std::ofstream(path, std::ios::binary) << content;
    return path.string();
  }
  static void expect_io(const std::string& path, const std::string& reason) {
    try {
      MappedFile::open(path);
      ADD_FAILURE() << path << " was opened";
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kIo);
      EXPECT_EQ(e.what(), path + ": " + reason);
    }
  }
  std::filesystem::path directory_;
};

TEST_F(MappedFileTest, HoldsTheContentAfterTheFileIsGone) {
  const std::string path = write("file", "hello");
  const std::shared_ptr<const MappedFile> file = MappedFile::open(path);
  std::filesystem::remove(path);
  EXPECT_EQ(file->path(), path);
  ASSERT_EQ(file->bytes().size(), 5u);
  EXPECT_EQ(std::memcmp(file->bytes().data(), "hello", 5), 0);
}

TEST_F(MappedFileTest, AnEmptyFileIsAnEmptySpan) {
  const std::shared_ptr<const MappedFile> file = MappedFile::open(write("empty", ""));
  EXPECT_TRUE(file->bytes().empty());
  file->sequential();
  file->will_need(0, 1);
}

TEST_F(MappedFileTest, HintsTakeAnyRange) {
  const std::shared_ptr<const MappedFile> file =
      MappedFile::open(write("file", std::string(10000, 'x')));
  file->sequential();
  for (const size_t offset : {size_t{0}, size_t{4097}, size_t{9999}, size_t{10000}, SIZE_MAX})
    for (const size_t bytes : {size_t{0}, size_t{1}, size_t{10000}, SIZE_MAX})
      file->will_need(offset, bytes);
  EXPECT_EQ(file->bytes()[9999], std::byte{'x'});
}

TEST_F(MappedFileTest, SaysWhatCannotBeMapped) {
  expect_io((directory_ / "missing").string(), "cannot open: No such file or directory");
  expect_io(directory_.string(), "cannot read: Is a directory");
  expect_io((directory_ / "missing" / "file").string(), "cannot open: No such file or directory");
  expect_io("", "cannot open: No such file or directory");
  expect_io(write("file", "x") + "/below", "cannot open: Not a directory");
  const std::string pipe = (directory_ / "pipe").string();
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  expect_io(pipe, "cannot map: not a regular file");  // and does not wait for a writer
  expect_io("/dev/null", "cannot map: not a regular file");
  EXPECT_THROW(MappedFile::open(write("file", "x") + std::string("\0x", 2)), Error);
}

TEST_F(MappedFileTest, SaysThatPermissionIsMissing) {
  const std::string path = write("file", "x");
  ASSERT_EQ(chmod(path.c_str(), 0), 0);
  ASSERT_EQ(chmod(directory_.c_str(), 0755), 0);
  // Root may read everything, so it acts as nobody for the moment.
  const bool root = geteuid() == 0;
  if (root) {
    ASSERT_EQ(seteuid(65534), 0);
  }
  expect_io(path, "cannot open: Permission denied");
  if (root) {
    ASSERT_EQ(seteuid(0), 0);
  }
}

}  // namespace
}  // namespace decant
