// The shipped shim against a real library of NVIDIA, TensorRT-RTX, on the CPU: what it refuses, and
// whether it builds plans of our networks. Nothing is run: that needs a GPU.
//
//   rtx_check LIBNVINFER LIBPARSER SHIM NETWORK.onnx...

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <chrono>
#include <dlfcn.h>
#include <fstream>
#include <iterator>
#include <string>

struct HepBuild {
    void* create_builder;
    void* create_parser;
    uint8_t const* onnx;
    uint64_t onnx_bytes;
    uint8_t const* timing;
    uint64_t timing_bytes;
    uint64_t workspace_bytes;
    int32_t half;
    int32_t capability;
};

// The first of them says why; what follows is about the missing driver.
static std::string firstWords;
static int failures = 0;

static void note(void*, int32_t severity, char const* text) {
    if (firstWords.empty() && severity <= 1) firstWords = text;
}

static void check(bool right, std::string const& what) {
    std::printf("%s %s\n", right ? "ok  " : "FAIL", what.c_str());
    if (!right) ++failures;
}

static void* open(char const* path) {
    void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
        std::fprintf(stderr, "%s\n", dlerror());
        std::exit(1);
    }
    return library;
}

template <typename Function>
static Function symbol(void* library, char const* name) {
    return reinterpret_cast<Function>(dlsym(library, name));
}

int main(int argc, char** argv) {
    if (argc < 5) return 2;
    void *nvinfer = open(argv[1]), *parser = open(argv[2]), *shim = open(argv[3]);
    int const version = symbol<int (*)()>(nvinfer, "getInferLibVersion")();
    int const headers = symbol<int (*)()>(shim, "hep_headers")();
    check(version / 10000 == headers / 10000, "library " + std::to_string(version) + " and shim " + std::to_string(headers) + " are of one major");
    void* logger = symbol<void* (*)(void (*)(void*, int32_t, char const*), void*)>(shim, "hep_logger")(note, nullptr);
    auto engine = symbol<int32_t (*)(void*, void*, uint8_t const*, uint64_t, void**)>(shim, "hep_engine");
    auto build = symbol<int32_t (*)(HepBuild const*, void*, void**, void**)>(shim, "hep_build");
    auto content = symbol<uint8_t const* (*)(void*, uint64_t*)>(shim, "hep_blob");
    void* runtime = dlsym(nvinfer, "createInferRuntime_INTERNAL");
    auto refused = [&](std::string const& plan, std::string const& what) {
        void* made = nullptr;
        firstWords.clear();
        int const status = engine(runtime, logger, reinterpret_cast<uint8_t const*>(plan.data()), plan.size(), &made);
        check(status == 2 && made == nullptr && !firstWords.empty(), what + " is refused: " + firstWords.substr(0, 150));
    };
    refused("", "an empty plan");
    refused(std::string(4096, 'x'), "junk");
    for (int i = 4; i < argc; ++i) {
        std::ifstream file(argv[i], std::ios::binary);
        std::string const onnx((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
        uint64_t sizes[2] = {0, 0};
        for (int half = 0; half < 2; ++half) {
            HepBuild const wish{dlsym(nvinfer, "createInferBuilder_INTERNAL"), dlsym(parser, "createNvOnnxParser_INTERNAL"),
                reinterpret_cast<uint8_t const*>(onnx.data()), onnx.size(), nullptr, 0, uint64_t{1} << 30, half, 86};
            void *plan = nullptr, *timing = nullptr;
            firstWords.clear();
            auto const start = std::chrono::steady_clock::now();
            int const status = build(&wish, logger, &plan, &timing);
            double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
            uint8_t const* bytes = plan != nullptr ? content(plan, &sizes[half]) : nullptr;
            char text[160];
            std::snprintf(text, sizeof text, "%s in %s: status %d, %.2f s, %llu bytes", std::strrchr(argv[i], '/') + 1,
                half ? "f16" : "f32", status, seconds, static_cast<unsigned long long>(sizes[half]));
            check(status == 0 && sizes[half] > 64, std::string(text) + (status ? ": " + firstWords : ""));
            if (bytes == nullptr) continue;
            std::string whole(reinterpret_cast<char const*>(bytes), sizes[half]);
            refused(whole.substr(0, whole.size() / 2), "half a plan");
            std::string flipped = whole;
            flipped[0] ^= 1;
            refused(flipped, "a plan with another magic");
            // No driver here: even the whole one is refused, by a sentence and not a crash. A flipped
            // weight gives the same words: it is not noticed, hence the hash that hepalert keeps.
            refused(whole, "without a driver a whole plan");
        }
        // A tiny network's plan is mostly kernels.
        check(onnx.size() < 1000000 || sizes[1] < sizes[0], "the f16 plan is smaller where weights count");
    }
    HepBuild const junk{dlsym(nvinfer, "createInferBuilder_INTERNAL"), dlsym(parser, "createNvOnnxParser_INTERNAL"),
        reinterpret_cast<uint8_t const*>("junk"), 4, nullptr, 0, uint64_t{1} << 30, 0, 86};
    void *plan = nullptr, *timing = nullptr;
    firstWords.clear();
    int const status = build(&junk, logger, &plan, &timing);
    check(status == 9, "junk is no network: " + firstWords.substr(0, 150));
    std::printf("%d failed\n", failures);
    return failures == 0 ? 0 : 1;
}
