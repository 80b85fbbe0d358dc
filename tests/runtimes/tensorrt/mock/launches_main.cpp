// Prints the launches of launches.h for the sizes on standard input, one case on a line:
//   operator, attributes (lists with their length before, floats as bits), number of inputs, and
//   for each of those its number of axes and its sizes.
// OPERATORS is X(name) for every operator of the header.
#include "launches.h"

#include <cstring>
#include <iostream>
#include <string>

struct Reader {
    void operator()(char const*, int32_t& value) const { std::cin >> value; }
    void operator()(char const*, float& value) const {
        int32_t bits;
        std::cin >> bits;
        std::memcpy(&value, &bits, sizeof(bits));
    }
    void operator()(char const*, std::vector<int32_t>& value) const {
        size_t length;
        std::cin >> length;
        value.resize(length);
        for (auto& item : value) std::cin >> item;
    }
};

template <class Operator>
void print() {
    Operator op;
    op.attributes(Reader());
    size_t inputs;
    std::cin >> inputs;
    attnc::Shapes<int64_t> dims(inputs);
    for (auto& shape : dims) {
        size_t axes;
        std::cin >> axes;
        shape.resize(axes);
        for (auto& size : shape) std::cin >> size;
    }
    auto const launch = op.launch(dims);
    for (auto size : launch.grid) std::cout << size << ' ';
    std::cout << launch.block << ' ' << launch.sharedBytes << " |";
    for (auto scalar : launch.scalars) std::cout << ' ' << scalar;
    for (auto const& shape : op.outputs(dims)) {
        std::cout << " |";
        for (auto size : shape) std::cout << ' ' << size;
    }
    std::cout << '\n';
}

int main() {
    for (std::string name; std::cin >> name;) {
#define X(operator_) \
    if (name == attnc::operator_::kName) print<attnc::operator_>();
        OPERATORS
    }
}
