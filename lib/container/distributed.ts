/** What torch.distributed.checkpoint writes: a folder of `.metadata` and files in which one save stands behind another. */

/** What is said of the folder, and of a file in it. */
export const DISTRIBUTED_CHECKPOINT = {
  kind: 'distributed-checkpoint',
  code: 'UNSUPPORTED',
  hint: 'make one file of the folder: python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER OUT.pt',
} as const;

/** Told by the name alone: the last save in such a file is a checkpoint like any other, and not what was asked for. */
export const DISTRIBUTED_NAME = /\.distcp$/i;
