// How a program begins on Android, written out because no compiler of ours ships its start files:
// the stack goes to libc's `__libc_init`, which calls `main` and ends the process.
int main(int, char**);

extern "C" {
using Function = void (*)();

// What libc asks for; constructors are run by the loader, so only the end list is read.
struct Lists {
  Function* preinit;
  Function* init;
  Function* fini;
  unsigned long counts[3];
};

[[noreturn]] void __libc_init(void* stack, Function exit, int (*entry)(int, char**), const Lists*);

static Function kNone[2] = {reinterpret_cast<Function>(-1L), nullptr};
static const Lists kLists = {kNone, kNone, kNone, {0, 0, 0}};

__attribute__((used, visibility("hidden"))) void attnc_begin(void* stack) {
  __libc_init(stack, nullptr, main, &kLists);
}

__attribute__((naked, used, visibility("default"))) void _start() {
  __asm__("mov x29, #0\n mov x30, #0\n mov x0, sp\n b attnc_begin");
}
}
