// One method of a program, timed around Module::execute as anyone would write it.
//   reference PROGRAM METHOD THREADS WARMUP_RUNS RUNS INPUT...
// An INPUT is a file with the raw elements of one input. Prints the ms of each run, one a line.
#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor_ptr.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <vector>

// The wheel ships the library but not its header.
namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  bool _unsafe_reset_threadpool(uint32_t num_threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

int main(int argc, char** argv) {
  if (argc < 7) {
    std::fprintf(stderr, "usage: reference PROGRAM METHOD THREADS WARMUP_RUNS RUNS INPUT...\n");
    return 2;
  }
  const char* method = argv[2];
  const int warmup_runs = std::atoi(argv[4]);
  const int runs = std::atoi(argv[5]);
  executorch::extension::threadpool::get_threadpool()->_unsafe_reset_threadpool(
      std::atoi(argv[3]));
  executorch::extension::Module module(argv[1], executorch::extension::Module::LoadMode::Mmap);
  const auto meta = module.method_meta(method);
  if (!meta.ok() || meta->num_inputs() != static_cast<size_t>(argc - 6)) {
    std::fprintf(stderr, "cannot load %s, or it takes other inputs\n", method);
    return 1;
  }
  std::vector<std::vector<char>> data;
  std::vector<executorch::extension::TensorPtr> tensors;
  std::vector<executorch::runtime::EValue> inputs;
  for (int i = 6; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    data.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    const auto info = meta->input_tensor_meta(i - 6);
    if (data.back().size() != info->nbytes()) {
      std::fprintf(stderr, "%s does not fit its input\n", argv[i]);
      return 1;
    }
    tensors.push_back(executorch::extension::make_tensor_ptr(
        {info->sizes().begin(), info->sizes().end()}, data.back().data(), info->scalar_type()));
    inputs.emplace_back(*tensors.back());
  }
  std::vector<double> samples_ms;
  for (int run = 0; run < warmup_runs + runs; ++run) {
    const auto start = std::chrono::steady_clock::now();
    const auto outputs = module.execute(method, inputs);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    if (!outputs.ok()) {
      std::fprintf(stderr, "%s failed\n", method);
      return 1;
    }
    if (run >= warmup_runs) {
      samples_ms.push_back(took.count());
    }
  }
  for (const double ms : samples_ms) {
    std::printf("%.6f\n", ms);
  }
}
