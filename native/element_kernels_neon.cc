/*
 * element_kernels_neon.cc - conversions to float32 on arm64; run under emulation only
 */
#include "element_kernels_simd.h"

#if defined(TORCH_CHECKPOINT_ARM64)

#include <arm_neon.h>

namespace torch_checkpoint {

namespace {

// Eight elements each, low half first.
struct Float16 {
  static constexpr size_t kItemsize = 2;
  static float32x4x2_t Convert(const uint8_t* p) {
    const float16x8_t h = vreinterpretq_f16_u8(vld1q_u8(p));
    return {{vcvt_f32_f16(vget_low_f16(h)), vcvt_high_f32_f16(h)}};
  }
};
struct BFloat16 {
  static constexpr size_t kItemsize = 2;
  static float32x4x2_t Convert(const uint8_t* p) {
    const uint16x8_t h = vreinterpretq_u16_u8(vld1q_u8(p));
    return {{vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(h), 16)), vreinterpretq_f32_u32(vshll_high_n_u16(h, 16))}};
  }
};
struct Int8 {
  static constexpr size_t kItemsize = 1;
  static float32x4x2_t Convert(const uint8_t* p) {
    const int16x8_t h = vmovl_s8(vreinterpret_s8_u8(vld1_u8(p)));
    return {{vcvtq_f32_s32(vmovl_s16(vget_low_s16(h))), vcvtq_f32_s32(vmovl_high_s16(h))}};
  }
};
struct UInt8 {
  static constexpr size_t kItemsize = 1;
  static float32x4x2_t Convert(const uint8_t* p) {
    const uint16x8_t h = vmovl_u8(vld1_u8(p));
    return {{vcvtq_f32_u32(vmovl_u16(vget_low_u16(h))), vcvtq_f32_u32(vmovl_high_u16(h))}};
  }
};
struct Int16 {
  static constexpr size_t kItemsize = 2;
  static float32x4x2_t Convert(const uint8_t* p) {
    const int16x8_t h = vreinterpretq_s16_u8(vld1q_u8(p));
    return {{vcvtq_f32_s32(vmovl_s16(vget_low_s16(h))), vcvtq_f32_s32(vmovl_high_s16(h))}};
  }
};

template <typename Format>
size_t Run(const uint8_t* source, float* target, size_t count) {
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const float32x4x2_t converted = Format::Convert(source + i * Format::kItemsize);
    vst1q_f32(target + i, converted.val[0]);
    vst1q_f32(target + i + 4, converted.val[1]);
  }
  return i;
}

}  // namespace

size_t ToFloat32Neon(Kernel kernel, const uint8_t* source, float* target, size_t count) {
  switch (kernel) {
    case Kernel::kFloat16:
      return Run<Float16>(source, target, count);
    case Kernel::kBFloat16:
      return Run<BFloat16>(source, target, count);
    case Kernel::kInt8:
      return Run<Int8>(source, target, count);
    case Kernel::kUInt8:
      return Run<UInt8>(source, target, count);
    case Kernel::kInt16:
      return Run<Int16>(source, target, count);
    default:
      return 0;  // the compiler's own vector code is as good for the rest
  }
}

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_ARM64
