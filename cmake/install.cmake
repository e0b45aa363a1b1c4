# Installs the library, its headers, the command, and the two ways to find them: a CMake package
# (find_package(decant), decant::decant) and decant.pc.
include(CMakePackageConfigHelpers)

install(TARGETS decant EXPORT decantTargets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
# What includes Highway (-inl.h) or describes tests stays here.
install(DIRECTORY decant/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/decant
        FILES_MATCHING PATTERN "*.h"
        PATTERN "*-inl.h" EXCLUDE PATTERN "cases.h" EXCLUDE PATTERN "*test*.h" EXCLUDE)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
if(TARGET decant_cli)
  install(TARGETS decant_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  file(RELATIVE_PATH libdir_from_bindir ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
  set_target_properties(decant_cli PROPERTIES
    INSTALL_RPATH "$<IF:$<PLATFORM_ID:Darwin>,@loader_path,$ORIGIN>/${libdir_from_bindir}")
endif()

# --- CMake package. A static library leaves its private dependencies to whoever links it.
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/decant)
get_target_property(library_type decant TYPE)
string(COMPARE EQUAL ${library_type} STATIC_LIBRARY DECANT_IS_STATIC)
install(EXPORT decantTargets NAMESPACE decant:: DESTINATION ${package_dir})
configure_package_config_file(cmake/decantConfig.cmake.in decantConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(decantConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/decantConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/decantConfigVersion.cmake
              cmake/Findsentencepiece.cmake
        DESTINATION ${package_dir})

# --- pkg-config, relocatable: the prefix is told from the place of the file itself.
file(RELATIVE_PATH DECANT_PC_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" DECANT_PC_PREFIX ${DECANT_PC_PREFIX})
set(DECANT_PC_REQUIRES "fmt")
set(DECANT_PC_LIBS "-L\${libdir} -ldecant")
if(DECANT_IS_STATIC)
  string(APPEND DECANT_PC_REQUIRES " libhwy sentencepiece")
  string(APPEND DECANT_PC_LIBS " -pthread")
endif()
configure_file(cmake/decant.pc.in decant.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/decant.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
