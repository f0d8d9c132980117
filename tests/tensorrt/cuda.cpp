// A stand-in for NVIDIA's driver library: "device memory" is malloc, every stream is a thread
// that works through its queue, so that a copy that is not waited for is seen. Only what cudarc and
// hepalert call. HEPALERT_STAND_IN_DELAY_US stretches every queued step.
//
// HEPALERT_STAND_IN (a comma-separated list) makes it fail: `no-device`, `no-device-memory`,
// `lost-device`. HEPALERT_STAND_IN_DEVICE is its name, HEPALERT_STAND_IN_CAPABILITY its compute
// capability (87), HEPALERT_STAND_IN_INTEGRATED whether host memory is its own (1).

#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <unistd.h>

using Result = int;
constexpr Result kDone = 0, kOutOfMemory = 2, kNoDevice = 100, kInvalid = 1, kLost = 719;

namespace {

bool told(char const* word) {
    char const* all = std::getenv("HEPALERT_STAND_IN");
    return all != nullptr && ("," + std::string(all) + ",").find("," + std::string(word) + ",") != std::string::npos;
}

std::string setting(char const* name, char const* otherwise) {
    char const* value = std::getenv(name);
    return value != nullptr ? value : otherwise;
}

struct Stream {
    std::mutex lock;
    std::condition_variable changed;
    std::deque<std::function<void()>> queue;
    uint64_t queued = 0, done = 0;
    bool closing = false;
    std::thread thread{[this] { work(); }};

    ~Stream() {
        {
            std::lock_guard<std::mutex> held(lock);
            closing = true;
        }
        changed.notify_all();
        thread.join();
    }
    void work() {
        useconds_t const delay = std::stoul(setting("HEPALERT_STAND_IN_DELAY_US", "0"));
        std::unique_lock<std::mutex> held(lock);
        for (;;) {
            changed.wait(held, [this] { return closing || !queue.empty(); });
            if (queue.empty()) return;
            auto step = std::move(queue.front());
            queue.pop_front();
            held.unlock();
            if (delay != 0) usleep(delay);
            step();
            held.lock();
            ++done;
            changed.notify_all();
        }
    }
    void push(std::function<void()> step) {
        {
            std::lock_guard<std::mutex> held(lock);
            queue.push_back(std::move(step));
            ++queued;
        }
        changed.notify_all();
    }
    uint64_t mark() {
        std::lock_guard<std::mutex> held(lock);
        return queued;
    }
    void wait(uint64_t mark) {
        std::unique_lock<std::mutex> held(lock);
        changed.wait(held, [&] { return done >= mark; });
    }
};

// What an event waits for: the steps that were queued when it was recorded.
struct Event {
    Stream* stream = nullptr;
    uint64_t mark = 0;
};

int context;
thread_local void* current = nullptr;

} // namespace

extern "C" {

Result cuInit(unsigned) { return told("no-device") ? kNoDevice : kDone; }
Result cuDeviceGet(int* device, int) { *device = 0; return kDone; }
Result cuDeviceGetCount(int* count) { *count = 1; return kDone; }
Result cuDeviceGetName(char* name, int size, int) {
    std::strncpy(name, setting("HEPALERT_STAND_IN_DEVICE", "stand-in GPU").c_str(), size);
    return kDone;
}
Result cuDeviceGetAttribute(int* value, int attribute, int) {
    int const capability = std::stoi(setting("HEPALERT_STAND_IN_CAPABILITY", "87"));
    switch (attribute) {
    case 18: *value = setting("HEPALERT_STAND_IN_INTEGRATED", "1") == "1"; break;
    case 75: *value = capability / 10; break;
    case 76: *value = capability % 10; break;
    default: *value = 0;
    }
    return kDone;
}
Result cuDevicePrimaryCtxRetain(void** made, int) { *made = &context; return kDone; }
Result cuDevicePrimaryCtxRelease_v2(int) { return kDone; }
Result cuCtxSetCurrent(void* wanted) { current = wanted; return kDone; }
Result cuCtxGetCurrent(void** found) { *found = current; return kDone; }
Result cuCtxSynchronize() { return kDone; }
Result cuMemGetInfo_v2(size_t* free, size_t* total) {
    *free = size_t{6} << 30;
    *total = size_t{8} << 30;
    return kDone;
}

Result cuMemAlloc_v2(uint64_t* address, size_t bytes) {
    if (told("no-device-memory")) return kOutOfMemory;
    *address = reinterpret_cast<uint64_t>(std::malloc(bytes));
    std::memset(reinterpret_cast<void*>(*address), 0xFF, bytes);
    return kDone;
}
Result cuMemFree_v2(uint64_t address) { std::free(reinterpret_cast<void*>(address)); return kDone; }
Result cuMemHostAlloc(void** start, size_t bytes, unsigned) {
    *start = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    return *start != nullptr ? kDone : kOutOfMemory;
}
Result cuMemFreeHost(void* start) { std::free(start); return kDone; }
Result cuMemHostGetDevicePointer_v2(uint64_t* address, void* start, unsigned) {
    *address = reinterpret_cast<uint64_t>(start);
    return kDone;
}

Result cuStreamCreate(Stream** made, unsigned) { *made = new Stream; return kDone; }
Result cuStreamDestroy_v2(Stream* stream) { delete stream; return kDone; }
Result cuStreamSynchronize(Stream* stream) { stream->wait(stream->mark()); return kDone; }
Result cuLaunchHostFunc(Stream* stream, void (*call)(void*), void* user) {
    stream->push([=] { call(user); });
    return kDone;
}
Result cuMemcpyHtoDAsync_v2(uint64_t to, void const* from, size_t bytes, Stream* stream) {
    stream->push([=] { std::memcpy(reinterpret_cast<void*>(to), from, bytes); });
    return kDone;
}
Result cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, Stream* stream) {
    stream->push([=] { std::memcpy(to, reinterpret_cast<void const*>(from), bytes); });
    return kDone;
}

Result cuEventCreate(Event** made, unsigned) { *made = new Event; return kDone; }
Result cuEventDestroy_v2(Event* event) { delete event; return kDone; }
Result cuEventRecord(Event* event, Stream* stream) {
    *event = Event{stream, stream->mark()};
    return kDone;
}
Result cuEventSynchronize(Event* event) {
    if (told("lost-device")) return kLost;
    if (event->stream != nullptr) event->stream->wait(event->mark);
    return kDone;
}
Result cuStreamWaitEvent(Stream* stream, Event* event, unsigned) {
    Event const seen = *event;
    stream->push([=] {
        if (seen.stream != nullptr) seen.stream->wait(seen.mark);
    });
    return kDone;
}

Result cuGetErrorName(Result error, char const** name) {
    switch (error) {
    case kOutOfMemory: *name = "CUDA_ERROR_OUT_OF_MEMORY"; return kDone;
    case kNoDevice: *name = "CUDA_ERROR_NO_DEVICE"; return kDone;
    case kLost: *name = "CUDA_ERROR_LAUNCH_FAILED"; return kDone;
    default: *name = "CUDA_ERROR_UNKNOWN"; return kInvalid;
    }
}
Result cuGetErrorString(Result error, char const** text) {
    switch (error) {
    case kOutOfMemory: *text = "out of memory"; return kDone;
    case kNoDevice: *text = "no CUDA-capable device is detected"; return kDone;
    case kLost: *text = "unspecified launch failure"; return kDone;
    default: *text = "unknown error"; return kInvalid;
    }
}
}
