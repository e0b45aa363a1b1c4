# install + find_package(decant) + pkg-config.
