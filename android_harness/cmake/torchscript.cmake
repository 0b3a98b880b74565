# The engine TorchScript, from the torch wheel: -DTORCH_FOLDER=<site-packages>/torch. Its CMake
# package is passed by: that asks for MKL, CUDA and more which a wheel has no use for.
set(RUNNER_KIND torchscript)
set(ENGINE_NAME torch)
foreach(needed TORCH_FOLDER ENGINE_VERSION)
    if(NOT DEFINED ${needed})
        message(FATAL_ERROR "The engine TorchScript needs -D${needed}.")
    endif()
endforeach()

set_target_properties(mobilesplit-runner PROPERTIES
    CXX_STANDARD 20  # what torch's headers ask for
    OUTPUT_NAME mobilesplit-torchscript-runner
)
foreach(library torch_cpu c10)
    add_library(${library} SHARED IMPORTED)
    set_target_properties(${library} PROPERTIES
        IMPORTED_LOCATION ${TORCH_FOLDER}/lib/lib${library}.so
    )
endforeach()
target_include_directories(mobilesplit-runner SYSTEM PRIVATE ${TORCH_FOLDER}/include)
target_link_libraries(mobilesplit-runner PRIVATE torch_cpu c10)
target_sources(mobilesplit-runner PRIVATE src/torchscript_engine.cpp)
