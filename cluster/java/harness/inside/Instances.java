package java.lang.invoke;

import jdk.internal.misc.Unsafe;

/**
 * Links a lambda that captures nothing: always the same object, from a handle that reads it out of a field.
 *
 * <p>{@code MethodHandles.constant}, which JDK 17 uses for it, makes a class for the first one and sets up a part of the
 * JDK that nothing else needs: 3 ms of processor time. The handle of a field is among those that an archive of
 * classes holds ready.
 */
final class Instances {
    private static final int COUNT = 40;
    private static final Unsafe UNSAFE = Unsafe.getUnsafe();

    static Object i0, i1, i2, i3, i4, i5, i6, i7, i8, i9;
    static Object i10, i11, i12, i13, i14, i15, i16, i17, i18, i19;
    static Object i20, i21, i22, i23, i24, i25, i26, i27, i28, i29;
    static Object i30, i31, i32, i33, i34, i35, i36, i37, i38, i39;

    private static int used;

    private Instances() {}

    /** Stands before {@code MethodHandles.constant}, which gets what is more than there are fields. */
    static MethodHandle constant(Class<?> type, Object value) {
        int next = next();
        if (next < COUNT && !type.isPrimitive()) {
            try {
                String name = "i".concat(Integer.toString(next));
                MethodHandle read = MethodHandles.Lookup.IMPL_LOOKUP.findStaticGetter(Instances.class, name, Object.class);
                MemberName field = read.internalMemberName();
                Object base = MethodHandleNatives.staticFieldBase(field);
                UNSAFE.putReferenceVolatile(base, MethodHandleNatives.staticFieldOffset(field), type.cast(value));
                return read.viewAsType(MethodType.methodType(type), false);
            } catch (ReflectiveOperationException impossible) {
                throw new InternalError(impossible);
            }
        }
        return MethodHandles.constant(type, value);
    }

    private static synchronized int next() {
        return used < COUNT ? used++ : COUNT;
    }
}
