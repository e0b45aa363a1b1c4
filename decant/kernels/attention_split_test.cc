#include "decant/kernels/attention_split.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <vector>

namespace decant {
namespace {

std::vector<uint32_t> lengths() {
  std::vector<uint32_t> all;
  for (uint32_t keys = 1; keys <= 4200; ++keys) all.push_back(keys);
  for (uint32_t keys = 4200; keys < 70000; keys += 997) all.push_back(keys);
  all.push_back(INT32_MAX);
  return all;
}

TEST(AttentionSplit, PartsCoverTheKeysAndNoneIsEmpty) {
  for (const uint32_t keys : lengths()) {
    const uint32_t parts = attention_parts(keys);
    ASSERT_TRUE(std::has_single_bit(parts)) << keys;
    ASSERT_EQ(attention_part_begin(keys, parts, 0), 0u) << keys;
    ASSERT_EQ(attention_part_begin(keys, parts, parts), keys);
    uint32_t shortest = UINT32_MAX, longest = 0;
    for (uint32_t part = 0; part < parts; ++part) {
      const uint32_t begin = attention_part_begin(keys, parts, part),
                     end = attention_part_begin(keys, parts, part + 1);
      ASSERT_LT(begin, end) << keys << " " << part;
      shortest = std::min(shortest, end - begin);
      longest = std::max(longest, end - begin);
    }
    // By one grain, and the last may lack another.
    ASSERT_LT(longest - shortest, 64u) << keys;
  }
}

// A grid is made for a full cache; groups beyond the live length's parts have no work.
TEST(AttentionSplit, AShorterTextHasNoMoreParts) {
  EXPECT_EQ(attention_parts(0), 1u);
  EXPECT_EQ(attention_parts(512), 4u);
  EXPECT_EQ(attention_parts(32768), 64u);
  uint32_t before = 1;
  for (const uint32_t keys : lengths()) {
    ASSERT_GE(attention_parts(keys), before) << keys;
    before = attention_parts(keys);
  }
}

// What the longest part costs is what the slowest of as many threads as parts, or of any smaller
// power of two, has to do: it grows with the keys, by a grain at a time.
TEST(AttentionSplit, NoStaircaseAsTheTextGrows) {
  for (const uint32_t threads : {1u, 2u, 4u}) {
    uint32_t before = 0;
    for (uint32_t keys = 512; keys <= 32768; keys += 32) {
      const uint32_t parts = attention_parts(keys);
      uint32_t most = 0;  // keys of a thread that has consecutive parts
      for (uint32_t t = 0; t < threads; ++t)
        most = std::max(most, attention_part_begin(keys, parts, (t + 1) * parts / threads) -
                                  attention_part_begin(keys, parts, t * parts / threads));
      ASSERT_LE(most, keys / threads + 32);
      ASSERT_LE(most, before == 0 ? most : before + 32) << keys;
      before = most;
    }
  }
}

}  // namespace
}  // namespace decant
