/** Checkpoints of whole trainings in a folder. */
export { CheckpointManager, type CheckpointManagerOptions, type LoadLatestOptions } from './checkpoint-manager';
export {
  type LoadedModel,
  type LoadModelParts,
  loadModel,
  type SaveModelParts,
  type Stateful,
  saveModel,
} from './models';
