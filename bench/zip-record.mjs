/** One record of a zip, through yauzl. */
import yauzl from 'yauzl';

/** The bytes of the first record whose name ends so. */
export async function readRecord(path, ending) {
  const zip = await yauzl.openPromise(path, { lazyEntries: true, autoClose: false });
  try {
    for await (const entry of zip.eachEntry()) {
      if (!entry.fileName.endsWith(`/${ending}`)) continue;
      const chunks = [];
      for await (const chunk of await zip.openReadStreamPromise(entry)) chunks.push(chunk);
      return Buffer.concat(chunks);
    }
  } finally {
    zip.close();
  }
  throw new Error(`${path} has no ${ending}`);
}
