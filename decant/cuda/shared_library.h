// A library that is looked for at run time.
#ifndef DECANT_CUDA_SHARED_LIBRARY_H_
#define DECANT_CUDA_SHARED_LIBRARY_H_

#include <dlfcn.h>

#include <string>

namespace decant::cuda {

// Stays loaded until the process ends.
class SharedLibrary {
 public:
  // Empty, with the loader's words in `problem`, if there is no such library.
  static SharedLibrary open(const std::string& file, std::string& problem) {
    SharedLibrary library;
    library.handle_ = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library.handle_) problem = dlerror();
    return library;
  }
  explicit operator bool() const { return handle_ != nullptr; }

  // Null if it has no such symbol.
  template <typename R, typename... Args>
  void find(R (*&function)(Args...), const char* symbol) const {
    function = reinterpret_cast<R (*)(Args...)>(dlsym(handle_, symbol));
  }

 private:
  void* handle_ = nullptr;
};

}  // namespace decant::cuda

#endif  // DECANT_CUDA_SHARED_LIBRARY_H_
