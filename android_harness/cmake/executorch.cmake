# The engine ExecuTorch, from either of its two packages: the wheel's SDK, whose targets have the
# prefix executorch::, or an install of ExecuTorch's own build (Android), whose targets have none.
set(RUNNER_KIND cpp)
set(ENGINE_NAME executorch)
target_sources(mobilesplit-runner PRIVATE src/etdump.cpp src/executorch_engine.cpp)

find_package(executorch REQUIRED)
if(TARGET executorch::runtime)
    set(needed runtime threadpool kernels_optimized backend_xnnpack)
    # kernels_quantized: the codec int8's encoders, and operators of int8 heads that XNNPACK left
    # outside its delegates.
    set(wanted kernels_quantized etdump)
    list(TRANSFORM needed PREPEND executorch::)
    list(TRANSFORM wanted PREPEND executorch::)
else()
    # Module, tensors and kernels are archives of their own there. Those that register kernels and
    # delegates carry the link options that keep them whole.
    set(needed executorch extension_module_static extension_tensor extension_data_loader
        extension_threadpool optimized_native_cpu_ops_lib xnnpack_backend)
    set(wanted quantized_ops_lib etdump)
endif()
foreach(library IN LISTS needed wanted)
    if(TARGET ${library})
        target_link_libraries(mobilesplit-runner PRIVATE ${library})
    elseif(library IN_LIST needed)
        message(FATAL_ERROR "The ExecuTorch of ${executorch_DIR} was built without ${library}.")
    endif()
endforeach()
if(TARGET executorch::etdump OR TARGET etdump)
    target_compile_definitions(mobilesplit-runner PRIVATE HAS_ETDUMP)
endif()

# The wheel names its version in full, an install may name none: then -DENGINE_VERSION says it.
if(DEFINED EXECUTORCH_BUILD_VERSION)
    set(ENGINE_VERSION ${EXECUTORCH_BUILD_VERSION})
elseif(NOT DEFINED ENGINE_VERSION)
    message(FATAL_ERROR "The ExecuTorch of ${executorch_DIR} says no version: "
        "give -DENGINE_VERSION=<version>.")
endif()
