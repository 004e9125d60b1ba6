/*
 * element_kernels.cc - the plain conversions, and the split over threads
 *
 * Narrow floats are converted on their bits, so that no rounding mode or flush-to-zero setting of the process can change
 * a result.  The five 8-bit formats are 256-entry tables made from those functions at compile time: a table of 1 KiB
 * stays in the first-level cache, and conversion is then bound by writing the output.
 */
#include "element_kernels.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "element_kernels_simd.h"
#include "output_pieces.h"

namespace torch_checkpoint {

namespace {

constexpr uint32_t kQuietNan = 0x7FC00000;

// Bits of a float32 from the fields of a narrower format with `exponent_bits` and `mantissa_bits`.  The caller has dealt
// with infinities and NaN.
constexpr uint32_t WidenFinite(uint32_t sign, uint32_t exponent, uint32_t mantissa, int mantissa_bits, int bias) {
  if (exponent == 0) {
    if (mantissa == 0) return sign;
    // Subnormal here, normal in float32: move the leading one out of the mantissa.
    exponent = 1;
    while ((mantissa >> mantissa_bits) == 0) {
      mantissa <<= 1;
      exponent--;  // may pass below zero; the sum below is meant modulo 2^32
    }
    mantissa &= (1u << mantissa_bits) - 1;
  }
  return sign | (exponent + 127 - static_cast<uint32_t>(bias)) << 23 | mantissa << (23 - mantissa_bits);
}

constexpr uint32_t Float16Bits(uint32_t h) {
  const uint32_t sign = (h & 0x8000) << 16, exponent = h >> 10 & 0x1F, mantissa = h & 0x3FF;
  if (exponent != 0x1F) return WidenFinite(sign, exponent, mantissa, 10, 15);
  // The payload moves up and a signalling NaN becomes quiet, as the processor's own conversion does.
  return sign | (mantissa == 0 ? 0x7F800000 : kQuietNan | mantissa << 13);
}

// Sign 1, exponent 4 (bias 7), mantissa 3; no infinity, NaN is S.1111.111.
constexpr uint32_t E4M3FNBits(uint32_t b) {
  const uint32_t sign = (b & 0x80) << 24;
  if ((b & 0x7F) == 0x7F) return sign | 0x7FF00000;
  return WidenFinite(sign, b >> 3 & 0xF, b & 7, 3, 7);
}

// As above with bias 8; 0x80, which would be minus zero, is the only NaN.
constexpr uint32_t E4M3FNUZBits(uint32_t b) {
  if (b == 0x80) return 0x7F800001;
  return WidenFinite((b & 0x80) << 24, b >> 3 & 0xF, b & 7, 3, 8);
}

// The upper byte of a float16.
constexpr uint32_t E5M2Bits(uint32_t b) { return Float16Bits(b << 8); }

// Bias 16; 0x80 is the only NaN.
constexpr uint32_t E5M2FNUZBits(uint32_t b) {
  if (b == 0x80) return 0x7F800001;
  return WidenFinite((b & 0x80) << 24, b >> 2 & 0x1F, b & 3, 2, 16);
}

// An exponent alone: 2^(b - 127); 0 is a float32 subnormal and 0xFF is NaN.
constexpr uint32_t E8M0FNUBits(uint32_t b) { return b == 0 ? 0x00400000 : b == 0xFF ? 0x7F800001 : b << 23; }

using ByteTable = std::array<uint32_t, 256>;

template <uint32_t (*kBits)(uint32_t)>
constexpr ByteTable MakeTable() {
  ByteTable table{};
  for (uint32_t b = 0; b < 256; b++) table[b] = kBits(b);
  return table;
}

// 5 KiB of constants; a NaN in them keeps the bits that PyTorch gives, quiet or not.
constexpr ByteTable kE4M3FN = MakeTable<E4M3FNBits>();
constexpr ByteTable kE4M3FNUZ = MakeTable<E4M3FNUZBits>();
constexpr ByteTable kE5M2 = MakeTable<E5M2Bits>();
constexpr ByteTable kE5M2FNUZ = MakeTable<E5M2FNUZBits>();
constexpr ByteTable kE8M0FNU = MakeTable<E8M0FNUBits>();

void FromTable(const ByteTable& table, const uint8_t* source, float* target, size_t count) {
  for (size_t i = 0; i < count; i++) std::memcpy(target + i, &table[source[i]], sizeof(float));
}

// Element i of an unaligned array.
template <typename T>
inline T Element(const uint8_t* source, size_t i) {
  T value;
  std::memcpy(&value, source + i * sizeof(T), sizeof(T));
  return value;
}

// Conversions that C++ defines as PyTorch does: to the nearest float32, ties to even.  64-bit integers are rounded once;
// going through double would round twice.
template <typename T>
void FromNumber(const uint8_t* source, float* target, size_t count) {
  for (size_t i = 0; i < count; i++) target[i] = static_cast<float>(Element<T>(source, i));
}

// One case for each kernel and no default: the compiler tells when a new one is forgotten.
void ToFloat32Plain(Kernel kernel, const uint8_t* source, float* target, size_t count) {
  switch (kernel) {
    case Kernel::kFloat64:
      return FromNumber<double>(source, target, count);
    case Kernel::kFloat32:
      std::memcpy(target, source, count * sizeof(float));
      return;
    case Kernel::kFloat16:
      for (size_t i = 0; i < count; i++) {
        const uint32_t bits = Float16Bits(Element<uint16_t>(source, i));
        std::memcpy(target + i, &bits, sizeof(bits));
      }
      return;
    case Kernel::kBFloat16:  // the upper half of a float32; a signalling NaN stays one
      for (size_t i = 0; i < count; i++) {
        const uint32_t bits = static_cast<uint32_t>(Element<uint16_t>(source, i)) << 16;
        std::memcpy(target + i, &bits, sizeof(bits));
      }
      return;
    case Kernel::kInt8:
      return FromNumber<int8_t>(source, target, count);
    case Kernel::kUInt8:
      return FromNumber<uint8_t>(source, target, count);
    case Kernel::kInt16:
      return FromNumber<int16_t>(source, target, count);
    case Kernel::kUInt16:
      return FromNumber<uint16_t>(source, target, count);
    case Kernel::kInt32:
      return FromNumber<int32_t>(source, target, count);
    case Kernel::kUInt32:
      return FromNumber<uint32_t>(source, target, count);
    case Kernel::kInt64:
      return FromNumber<int64_t>(source, target, count);
    case Kernel::kUInt64:
      return FromNumber<uint64_t>(source, target, count);
    case Kernel::kBool:  // any byte but zero is true
      for (size_t i = 0; i < count; i++) target[i] = source[i] != 0 ? 1.0f : 0.0f;
      return;
    case Kernel::kFloat8E4M3FN:
      return FromTable(kE4M3FN, source, target, count);
    case Kernel::kFloat8E4M3FNUZ:
      return FromTable(kE4M3FNUZ, source, target, count);
    case Kernel::kFloat8E5M2:
      return FromTable(kE5M2, source, target, count);
    case Kernel::kFloat8E5M2FNUZ:
      return FromTable(kE5M2FNUZ, source, target, count);
    case Kernel::kFloat8E8M0FNU:
      return FromTable(kE8M0FNU, source, target, count);
  }
}

template <typename T>
void DequantizeAs(const uint8_t* source, float* target, size_t count, float scale, int32_t zero_point) {
  for (size_t i = 0; i < count; i++) {
    // Unsigned, because overflow wraps there by definition.
    const uint32_t difference = static_cast<uint32_t>(Element<T>(source, i)) - static_cast<uint32_t>(zero_point);
    target[i] = static_cast<float>(static_cast<int32_t>(difference)) * scale;
  }
}

template <typename T>
void SwapEach(uint8_t* bytes, size_t byte_length) {
  for (size_t i = 0; i < byte_length; i += sizeof(T)) {
    T value;
    std::memcpy(&value, bytes + i, sizeof(T));
    T reversed = 0;
    for (size_t k = 0; k < sizeof(T); k++) {
      reversed = static_cast<T>(reversed << 8 | (value & 0xFF));
      value = static_cast<T>(value >> 8);
    }
    std::memcpy(bytes + i, &reversed, sizeof(T));
  }
}

}  // namespace

size_t KernelItemsize(Kernel kernel) {
  // One row per Kernel, in its order.
  static constexpr uint8_t kItemsizes[kKernelCount] = {8, 4, 2, 2, 1, 1, 2, 2, 4, 4, 8, 8, 1, 1, 1, 1, 1, 1};
  return kItemsizes[static_cast<size_t>(kernel)];
}

void ToFloat32(Kernel kernel, const uint8_t* source, float* target, size_t count) {
  size_t done = 0;
#if defined(TORCH_CHECKPOINT_X64)
  const CpuFeatures cpu = ActiveCpuFeatures();
  if (cpu.avx2 && cpu.f16c) done = ToFloat32Avx2(kernel, source, target, count);
#elif defined(TORCH_CHECKPOINT_ARM64)
  if (ActiveCpuFeatures().neon) done = ToFloat32Neon(kernel, source, target, count);
#endif
  ToFloat32Plain(kernel, source + done * KernelItemsize(kernel), target + done, count - done);
}

void Dequantize(Kernel kernel, const uint8_t* source, float* target, size_t count, float scale, int32_t zero_point) {
  if (kernel == Kernel::kInt8) {
    DequantizeAs<int8_t>(source, target, count, scale, zero_point);
  } else if (kernel == Kernel::kUInt8) {
    DequantizeAs<uint8_t>(source, target, count, scale, zero_point);
  } else {
    DequantizeAs<int32_t>(source, target, count, scale, zero_point);
  }
}

Status ToFloat32Guarded(Kernel kernel, const SourceSpan& source, float* target, size_t count) {
  return InOutputPieces(KernelItemsize(kernel), source, sizeof(float), reinterpret_cast<uint8_t*>(target), count,
                        [kernel](const uint8_t* from, uint8_t* to, size_t length) {
                          ToFloat32(kernel, from, reinterpret_cast<float*>(to), length);
                        });
}

Status DequantizeGuarded(Kernel kernel, const SourceSpan& source, float* target, size_t count, float scale,
                         int32_t zero_point) {
  return InOutputPieces(KernelItemsize(kernel), source, sizeof(float), reinterpret_cast<uint8_t*>(target), count,
                        [=](const uint8_t* from, uint8_t* to, size_t length) {
                          Dequantize(kernel, from, reinterpret_cast<float*>(to), length, scale, zero_point);
                        });
}

void ByteSwap(uint8_t* bytes, size_t byte_length, size_t width) {
  switch (width) {
    case 2:
      return SwapEach<uint16_t>(bytes, byte_length);
    case 4:
      return SwapEach<uint32_t>(bytes, byte_length);
    case 8:
      return SwapEach<uint64_t>(bytes, byte_length);
    case 16:
      for (size_t i = 0; i < byte_length; i += 16) std::reverse(bytes + i, bytes + i + 16);
      return;
    default:
      return;  // one byte has no order
  }
}

}  // namespace torch_checkpoint
