// Blocks, the closures of Apple's compilers, by the layout that clang documents ("Block
// Implementation Specification"). metal-cpp makes one where it takes a std::function.
#include <cstdlib>
#include <cstring>

#include "testing/metal_host/objc/blocks.h"
#include "testing/metal_host/objc/object.h"

namespace {

constexpr int kIsHeap = 1 << 24;
constexpr int kHasHelpers = 1 << 25;
constexpr int kIsGlobal = 1 << 28;
constexpr int kCountMask = 0xFFFF;
// Kinds of captured variables.
constexpr int kObject = 3, kBlock = 7, kByReference = 8;

struct Descriptor {
  unsigned long reserved, size;
  void (*copy)(void* to, const void* from);
  void (*dispose)(const void* from);
};
struct Block {
  void* isa;
  int flags, reserved;
  void* invoke;  // a function of the block and its arguments
  Descriptor* descriptor;
};
// A __block variable; all blocks that capture it share the copy on the heap.
struct Shared {
  void* isa;
  Shared* forwarding;
  int flags, size;
  void (*keep)(Shared* to, Shared* from);
  void (*destroy)(Shared*);
};

Shared* copy(Shared* from) {
  Shared* current = from->forwarding;
  if ((current->flags & kIsHeap) == 0) {
    auto* made = static_cast<Shared*>(std::malloc(static_cast<size_t>(from->size)));
    std::memcpy(static_cast<void*>(made), from, static_cast<size_t>(from->size));
    made->flags = (from->flags & ~kCountMask) | kIsHeap | 1;  // the stack frame's
    made->forwarding = made;
    from->forwarding = made;
    if ((from->flags & kHasHelpers) != 0) from->keep(made, from);
    current = made;
  }
  ++current->flags;
  return current;
}

void dispose(Shared* shared) {
  Shared* current = shared->forwarding;
  if ((current->flags & kIsHeap) == 0 || (--current->flags & kCountMask) != 0) return;
  if ((current->flags & kHasHelpers) != 0) current->destroy(current);
  std::free(current);
}

}  // namespace

// NOLINTBEGIN: names and types are those of clang's block ABI
extern "C" {
void* _NSConcreteStackBlock[32];
void* _NSConcreteGlobalBlock[32];

void* _Block_copy(const void* from) {
  auto* block = static_cast<Block*>(const_cast<void*>(from));
  if (block == nullptr || (block->flags & kIsGlobal) != 0) return block;
  if ((block->flags & kIsHeap) != 0) {
    ++block->flags;
    return block;
  }
  auto* made = static_cast<Block*>(std::malloc(block->descriptor->size));
  std::memcpy(static_cast<void*>(made), block, block->descriptor->size);
  made->flags = (block->flags & ~kCountMask) | kIsHeap | 1;
  if ((made->flags & kHasHelpers) != 0) made->descriptor->copy(made, block);
  return made;
}

void _Block_release(const void* from) {
  auto* block = static_cast<Block*>(const_cast<void*>(from));
  if (block == nullptr || (block->flags & kIsHeap) == 0 || (--block->flags & kCountMask) != 0)
    return;
  if ((block->flags & kHasHelpers) != 0) block->descriptor->dispose(block);
  std::free(block);
}

void _Block_object_assign(void* to, const void* from, int kind) {
  auto* variable = static_cast<const void**>(to);
  *variable = from;
  if ((kind & kByReference) != 0) {
    *variable = copy(static_cast<Shared*>(const_cast<void*>(from)));
  } else if ((kind & kBlock) == kBlock) {
    *variable = _Block_copy(from);
  } else if ((kind & kObject) == kObject && from != nullptr) {
    static_cast<decant::metal_host::objc::Object*>(const_cast<void*>(from))->retain();
  }
}

void _Block_object_dispose(const void* from, int kind) {
  if ((kind & kByReference) != 0) {
    dispose(static_cast<Shared*>(const_cast<void*>(from)));
  } else if ((kind & kBlock) == kBlock) {
    _Block_release(from);
  } else if ((kind & kObject) == kObject && from != nullptr) {
    static_cast<decant::metal_host::objc::Object*>(const_cast<void*>(from))->release();
  }
}
}
// NOLINTEND

namespace decant::metal_host::objc {

Handler::Handler(const void* block) : block_(_Block_copy(block)) {}
Handler::~Handler() { _Block_release(block_); }
void Handler::call(Object* argument) const {
  auto* block = static_cast<Block*>(block_);
  reinterpret_cast<void (*)(void*, Object*)>(block->invoke)(block, argument);
}

}  // namespace decant::metal_host::objc
