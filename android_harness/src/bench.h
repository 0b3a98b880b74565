// Measures methods one after the other and reports every raw sample.
#pragma once

#include "arguments.h"
#include "program.h"
#include "virtual_phone.h"

namespace mobilesplit {

// Throws Failure; what was reported until then stands.
void bench(Program& program, const Arguments& arguments, const VirtualPhone& phone);

}  // namespace mobilesplit
