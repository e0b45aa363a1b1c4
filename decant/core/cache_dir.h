// Where things are kept that can be made or fetched again.
#ifndef DECANT_CORE_CACHE_DIR_H_
#define DECANT_CORE_CACHE_DIR_H_

#include <string>

namespace decant {

// DECANT_CACHE_DIR if set, else $XDG_CACHE_HOME/decant, else $HOME/.cache/decant; empty without any
// of them. It may not exist.
std::string cache_dir();

}  // namespace decant

#endif  // DECANT_CORE_CACHE_DIR_H_
