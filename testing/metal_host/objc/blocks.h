// A copied block with one object as its argument.
#ifndef DECANT_TESTING_METAL_HOST_OBJC_BLOCKS_H_
#define DECANT_TESTING_METAL_HOST_OBJC_BLOCKS_H_

namespace decant::metal_host::objc {

class Object;

class Handler {
 public:
  explicit Handler(const void* block);
  ~Handler();
  Handler(const Handler&) = delete;
  Handler& operator=(const Handler&) = delete;
  void call(Object* argument) const;

 private:
  void* block_;
};

}  // namespace decant::metal_host::objc

#endif  // DECANT_TESTING_METAL_HOST_OBJC_BLOCKS_H_
