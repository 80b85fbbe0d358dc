// Adaptive averages of a map: cell i of n covers places floor(i * size / n) to the ceiling of
// (i + 1) * size / n.
#pragma once
#include "common.cuh"

namespace attnc {

// The pixels of one cell, counted through, so that any number of lanes can share them out.
struct Cell {
  int top, left, width, area;

  __device__ Cell(int cell, int map_height, int map_width, int rows, int columns) {
    const int i = cell / columns, j = cell % columns;
    top = i * map_height / rows;
    left = j * map_width / columns;
    width = ((j + 1) * map_width + columns - 1) / columns - left;
    area = width * (((i + 1) * map_height + rows - 1) / rows - top);
  }

  // Where pixel k of the cell lies in the map.
  __device__ long long place(int k, int map_width) const {
    return static_cast<long long>(top + k / width) * map_width + left + k % width;
  }
};

}  // namespace attnc
