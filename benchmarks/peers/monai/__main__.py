"""tfmed against MONAI on CPU PyTorch (and, where they do the same, imgaug and SimpleITK): time, memory, agreement.

python -m benchmarks.peers.monai [--only surface windows] [--rounds 7] [--environment FOLDER] [--data FOLDER]

tfmed runs in the Python that starts this script, MONAI in a virtual environment of its own, which is made first if need
be (MONAI wants a newer numpy than stack `addons` has). Each side is a process of its own with two threads; all sides of
a task are set up, checked to agree (`checks.py` says where they should), warmed, and then run one round each
in turn. Printed are medians (quartiles) of a round's time per sample, the median of the rounds' ratios to tfmed's, and
the peak of resident memory, of the whole process and beyond what it held after its imports.
"""

from benchmarks.peers.monai.comparison import PLAIN, TASKS, main

if __name__ == "__main__":
    main(__doc__, [task for task in TASKS if task not in PLAIN])
