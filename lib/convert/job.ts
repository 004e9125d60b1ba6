/** One conversion of a folder run, on whichever thread: what it is given and what it gives back can both be sent. */
import { dirname } from 'node:path';
import { type ErrorCode, isCheckpointError } from '../errors';
import type { OnProgress } from '../source/progress';
import { type Conversion, type ConvertOptions, convertModel } from './convert';
import { makeFolder } from './folders';

export interface Task {
  readonly input: string;
  readonly output: string;
  readonly options: ConvertOptions;
  /** The output is there already, and is only compared with the input. */
  readonly verifyOnly: boolean;
}

export type Outcome =
  | { readonly kind: 'converted' | 'empty'; readonly conversion: Conversion }
  | { readonly kind: 'failed'; readonly code: ErrorCode | 'INTERNAL'; readonly message: string };

/** Never rejects but for an abort: what goes wrong with one file is told with it. */
export async function runTask(
  { input, output, options, verifyOnly }: Task,
  signal: AbortSignal | undefined,
  onProgress: OnProgress | undefined,
): Promise<Outcome> {
  try {
    if (!options.dryRun && !verifyOnly) makeFolder(dirname(output));
    const conversion = await convertModel(
      input,
      output,
      { ...options, signal, onProgress },
      { inFolder: true, verifyOnly },
    );
    return { kind: conversion.report.tensors === 0 ? 'empty' : 'converted', conversion };
  } catch (error) {
    if (signal?.aborted) throw error;
    if (isCheckpointError(error)) return { kind: 'failed', code: error.code, message: error.message };
    return { kind: 'failed', code: 'INTERNAL', message: error instanceof Error ? error.message : String(error) };
  }
}
