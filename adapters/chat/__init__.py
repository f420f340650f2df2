"""What every chat platform needs beside the spoke: pages, buttons, files, and words about them."""
