"""3x3 convolutions by Winograd's algorithm, in bfloat16, for CPUs with AVX512-BF16."""
