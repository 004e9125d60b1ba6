/*
 * zip_format.h - the numbers of the ZIP format, with their clauses in PKWARE's APPNOTE.TXT 6.3.10; nothing else
 */
#ifndef TORCH_CHECKPOINT_ZIP_FORMAT_H_
#define TORCH_CHECKPOINT_ZIP_FORMAT_H_

#include <cstddef>
#include <cstdint>

namespace torch_checkpoint {

// Signatures, as read little-endian ("PK" and two bytes).
constexpr uint32_t kZipLocalSignature = 0x04034B50;           // 4.3.7
constexpr uint32_t kZipDescriptorSignature = 0x08074B50;      // 4.3.9.3
constexpr uint32_t kZipCentralSignature = 0x02014B50;         // 4.3.12
constexpr uint32_t kZip64EndSignature = 0x06064B50;           // 4.3.14
constexpr uint32_t kZip64LocatorSignature = 0x07064B50;       // 4.3.15
constexpr uint32_t kZipEndSignature = 0x06054B50;             // 4.3.16

// Bytes of each structure without its variable part.
constexpr size_t kZipLocalBytes = 30;         // 4.3.7
constexpr size_t kZipCentralBytes = 46;       // 4.3.12
constexpr size_t kZipEndBytes = 22;           // 4.3.16
constexpr size_t kZip64LocatorBytes = 20;     // 4.3.15
constexpr size_t kZip64EndBytes = 56;         // 4.3.14, version 1
constexpr size_t kZip64EndUncountedBytes = 12;  // 4.3.14.1: its size field leaves out signature and size field
constexpr size_t kZipDescriptorBytes = 16;    // 4.3.9
constexpr size_t kZipDescriptor64Bytes = 24;  // 4.3.9.2
constexpr size_t kZipMaxCommentBytes = 0xFFFF;  // 4.4.12

// Offsets of fields that are read alone.
constexpr size_t kZipLocalNameLengthOffset = 26;  // 4.3.7, followed by the extra field's length

// A field with this value is found in the Zip64 extra field or record instead (4.4.1.4).
constexpr uint16_t kZipSee64U16 = 0xFFFF;
constexpr uint32_t kZipSee64U32 = 0xFFFFFFFF;

constexpr uint16_t kZip64ExtraId = 0x0001;  // 4.5.3

// General purpose bit flags (4.4.4).
constexpr uint16_t kZipFlagEncrypted = 1 << 0;
constexpr uint16_t kZipFlagDescriptor = 1 << 3;
constexpr uint16_t kZipFlagUtf8 = 1 << 11;

constexpr uint16_t kZipMethodStored = 0;  // 4.4.5

}  // namespace torch_checkpoint

#endif  // TORCH_CHECKPOINT_ZIP_FORMAT_H_
