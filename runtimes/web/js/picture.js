// From what a page has (a file, an image, a frame of the camera) to RGB bytes, upright.

import { AttncError } from "./errors.js";

const EXACT = {
  colorSpaceConversion: "none",
  premultiplyAlpha: "none",
  imageOrientation: "from-image",
};

/**
 * @param {Blob|ImageBitmapSource} source a file (turned by its EXIF tag), or anything drawable
 * @returns {Promise<{width: number, height: number, bytes: Uint8Array}>} RGB, row by row
 * @throws {AttncError} "not-a-picture", "transparent"
 */
export async function decode(source) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(source, EXACT);
  } catch {
    const what = source instanceof File ? `${source.name} ` : "This ";
    throw new AttncError(
      "not-a-picture",
      `${what}is not a picture that this browser can read. Try a JPEG, PNG or WebP file.`
    );
  }
  try {
    return fromPixels(pixelsOf(bitmap), bitmap.width, bitmap.height);
  } finally {
    bitmap.close();
  }
}

function pixelsOf(bitmap) {
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height).data;
}

function fromPixels(rgba, width, height) {
  const bytes = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
    if (rgba[from + 3] !== 255)
      throw new AttncError(
        "transparent",
        "The picture is partly transparent, and what is behind it is not known. " +
          "Put it on a background first."
      );
    bytes[to] = rgba[from];
    bytes[to + 1] = rgba[from + 1];
    bytes[to + 2] = rgba[from + 2];
  }
  return { width, height, bytes };
}
