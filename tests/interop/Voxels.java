// Asks ImageJ's own TIFF reader for single voxels of a stack, without a screen.
//
//   java -cp ij.jar Voxels.java (whole|virtual) STACK.tif SLICE ROW COLUMN [SLICE ROW COLUMN …]      (all from 0)
//
// Prints one line "size COLUMNS ROWS SLICES BITS", then one line "value NUMBER" for each voxel.

import ij.IJ;
import ij.ImagePlus;
import ij.ImageStack;
import ij.plugin.FileInfoVirtualStack;

public class Voxels {
    public static void main(String[] args) {
        ImagePlus image = args[0].equals("whole") ? IJ.openImage(args[1]) : FileInfoVirtualStack.openVirtual(args[1]);
        if (image == null) {
            System.err.println("ImageJ cannot open " + args[1]);
            System.exit(1);
        }
        ImageStack stack = image.getStack();
        System.out.printf("size %d %d %d %d%n", image.getWidth(), image.getHeight(), stack.getSize(), image.getBitDepth());
        for (int i = 2; i < args.length; i += 3) {
            int slice = Integer.parseInt(args[i]), row = Integer.parseInt(args[i + 1]), column = Integer.parseInt(args[i + 2]);
            System.out.println("value " + (double) stack.getProcessor(slice + 1).getf(column, row));
        }
        System.exit(0); // ImageJ leaves threads behind
    }
}
