import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    // One process per file: the addon's state and the process's memory are part of what is tested.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    include: ['**/*.test.ts'],
    globalSetup: ['build.ts'],
    reporters: ['default'],
  },
});
