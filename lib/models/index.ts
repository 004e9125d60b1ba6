/** Checkpoints of whole trainings in a folder. */
export { CheckpointManager, type CheckpointManagerOptions, type LoadLatestOptions } from './checkpoint-manager';
export { loadModel, type LoadedModel, type LoadModelParts, saveModel, type SaveModelParts, type Stateful } from './models';
